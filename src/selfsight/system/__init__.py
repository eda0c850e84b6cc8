"""System: files kept whole, locks, the console, memory: what lies between us and the machine."""

"""System: what talks to the machine: atomic files, locks, signals, the console, memory."""

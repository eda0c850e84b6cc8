"""Sheets: what a task asks, what the network answers and what is true; a task a file."""

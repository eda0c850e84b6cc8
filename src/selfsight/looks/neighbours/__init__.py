"""Neighbours: which pictures a network takes for alike, and why."""

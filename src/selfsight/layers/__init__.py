"""Layers: what several tasks share."""

"""Layers: network parts and losses that several tasks share."""

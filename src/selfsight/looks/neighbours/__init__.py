"""Neighbours: which pictures are similar to a network, and what that depends on."""

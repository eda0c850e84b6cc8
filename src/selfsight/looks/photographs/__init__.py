"""Photographs: the results of a run on pictures of any size."""

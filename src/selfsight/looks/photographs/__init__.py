"""Photographs: a run applied to pictures of any size."""

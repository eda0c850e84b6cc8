"""Looks: pictures that show people what an encoder has learned."""

from selfsight.looks.filters import draw_filters
from selfsight.looks.neighbours.neighbour_sheet import draw_neighbours, nearest, shared_class

__all__ = ["draw_filters", "draw_neighbours", "nearest", "shared_class"]

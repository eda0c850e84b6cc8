"""Augmentation of whole batches on their device, with a different draw for every sample."""

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.augment.blur import blur
from selfsight.augment.color import ColorJitter, jitter_colors, solarise
from selfsight.augment.shortcut_cures import colors_dropped, resampled
from selfsight.augment.views import random_view

__all__ = [
    "Augmentation",
    "ColorJitter",
    "augmented",
    "blur",
    "colors_dropped",
    "jitter_colors",
    "random_view",
    "resampled",
    "solarise",
]

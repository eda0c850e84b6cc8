"""Augmentation: on whole batches, on the device, a different draw for every sample."""

from selfsight.augment.color import ColorJitter, jitter_colors
from selfsight.augment.views import crop_and_flip

__all__ = ["ColorJitter", "crop_and_flip", "jitter_colors"]

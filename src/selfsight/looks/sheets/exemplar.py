"""Exemplars' partners: the sheet of exemplar: which version is of the same picture?

The task has no embedding of its own, and its classes are the pictures it was trained on. What is
compared are the pooled features that its classifier gets.
"""

import torch
import torch.nn.functional as F

from selfsight.augment.augmentation import augmented
from selfsight.data.pictures.batch import Images
from selfsight.looks.sheets.contrast import Pairs, PartnerSheet
from selfsight.tasks.exemplar import Exemplar

VERSIONS = ("view", "other")


def of_exemplars(task: Exemplar, batch: Images) -> Pairs:
    """Compare two versions of every picture by its pooled features."""
    first, second = (augmented(batch, task.size, task.augmentation, name=name) for name in VERSIONS)
    features = F.normalize(task.encoder(torch.cat([first, second])).float(), dim=1)
    return Pairs(first, second, (features[: len(first)] @ features[len(first) :].T).cpu())


SHEET = PartnerSheet(of_exemplars)

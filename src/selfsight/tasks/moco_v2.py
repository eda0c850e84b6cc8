"""MoCo v2: MoCo with a deeper head, stronger changes of the views, and a higher temperature.

Hidden:     which of the keys in reach is of another view of the query's picture.
Predicted:  a direction for every query; keys come from an encoder that follows slowly.
Scored:     cross-entropy of the key among K in a queue; a blind guess costs log(1 + K) nats.

Chen, Fan, Girshick, He, "Improved Baselines with Momentum Contrastive Learning", 2020,
https://arxiv.org/abs/2003.04297, section 3.

What SimCLR added, in MoCo (`moco.py`, which see): a head of two layers, and blur. Below 96 px
nothing is blurred.
"""

from typing import Any, ClassVar

from torch import nn

from selfsight.augment.augmentation import Augmentation
from selfsight.augment.color import ColorJitter
from selfsight.layers.heads import HeadKind
from selfsight.tasks.moco import MoCo


class MoCoV2(MoCo):
    """Find the key of the same picture among those of a queue; `MoCo` tells of the settings."""

    usual_augmentation: ClassVar[Augmentation] = Augmentation(
        colors=ColorJitter(0.4, 0.4, 0.4, 0.1, share=0.8, grey=0.2)
    )

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        temperature: float = 0.2,
        head: HeadKind = "mlp",
        **others: Any,
    ) -> None:
        super().__init__(encoder, dim, temperature=temperature, head=head, **others)

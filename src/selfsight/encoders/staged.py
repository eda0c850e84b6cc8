"""Staged: base class of our own networks, with the interface of timm's models.

It provides the stages' maps, pooled features and a classifier.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Staged(nn.Module, ABC):
    """A network of stages whose maps can be read as those of timm's models.

    A subclass makes its stages and then calls `_headed`.
    """

    @abstractmethod
    def maps(self, x: Tensor) -> list[Tensor]:
        """Run through the stages: (B, C, S, S) -> each stage's map (B, C, h, w), first to last."""

    def _headed(
        self, names: Sequence[str], widths: Sequence[int], strides: Sequence[int], classes: int
    ) -> None:
        """Add pooling and classifier, and describe the stages.

        Args:
            names: Names of the stages' modules.
            widths: Channels of their maps.
            strides: Input pixels between neighbouring points of their maps.
            classes: Width of the classifier; 0 leaves it out and gives pooled features.
        """
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info: list[dict[str, Any]] = [
            {"module": name, "num_chs": width, "reduction": stride}
            for name, width, stride in zip(names, widths, strides, strict=True)
        ]
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.fc = nn.Linear(self.num_features, classes) if classes else nn.Identity()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: list[int] | None = None,
        intermediates_only: bool = False,
        output_fmt: str = "NCHW",
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Run through the stages, as timm's models do: -> last map, chosen maps (B, C, h, w)."""
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, got {output_fmt}")
        maps = self.maps(x)
        chosen = [maps[i] for i in (range(len(maps)) if indices is None else indices)]
        return chosen if intermediates_only else (maps[-1], chosen)

    def forward_features(self, x: Tensor) -> Tensor:
        """Run through the stages: (B, C, S, S) -> the last map (B, D, h, w)."""
        return self.maps(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Pool the last map, and classify if there is a classifier."""
        return self.fc(self.global_pool(self.forward_features(x)))

"""PIRL: a picture and its shuffled tiles should be told by the same entry of a memory.

Hidden:     which of all pictures this one is: shown whole, cropped and in other colours, and once
            more as a puzzle of tiles in any order.
Predicted:  two vectors of length 1, one from the picture and one from its tiles, to be nearer to
            the picture's entry in a memory bank than to those of others.
Scored:     cross-entropy of the own entry among it and m others, averaged over both; a blind guess
            costs log(1 + m) nats, or log(1 + m) + m log(1 + 1 / m) where each is scored alone
            (noise contrast).

Misra, van der Maaten, "Self-Supervised Learning of Pretext-Invariant Representations", CVPR 2020,
https://arxiv.org/abs/1912.01991, section 2.

While `jigsaw` predicts the permutation, here it should not matter: nothing has to identify it, so
all N! orders of N tiles are used, and features may forget it. Picture and tiles are compared with
the memory and not with each other; the bank is updated with the picture's vector.

We depart from the paper in sizes; in the softmax, where it contrasts with noise; in that tiles of a
picture share its change of colours; and in that the bank begins with the untrained network's
embeddings. With `objective="nce"`, the contrast is that of the authors' code (VISSL's
`nce_loss_with_memory`) and of Wu et al., h = P / (P + m / N) with a constant in P, see
`layers/noise_contrast.py`. The paper prints another one, its equation 4: there h is a picture's
exp(s / T) over the sum of it and those of the m others.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.augment.tile_grid import cut_tiles, put_together, side_of_tiles
from selfsight.augment.views import centre_view
from selfsight.data.pictures.batch import Images
from selfsight.distributed.calibration import calibrate
from selfsight.layers.heads import Head, HeadKind, of_length_1
from selfsight.layers.memory_bank import MemoryBank, samples_of
from selfsight.layers.noise_contrast import NoiseContrast, Objective, usual_negatives
from selfsight.tasks.base import Epoch, Facts, Needs, Score
from selfsight.tasks.instance_discrimination import ANOTHER_EPOCH, AUGMENTATION, CALIBRATING, Asked
from selfsight.tasks.two_views import TwoViews

LEAST_PUZZLE = 0.6  # of the area is cut into tiles, as in the paper's code
TILE = 0.75  # side of a tile as a share of its cell's: 64 of 85 pixels
DRAWN, AT_MOST = 4096, 32_000  # negatives, where not all are compared with
PART_DRAWN = 40  # of much data one in 40 is drawn: 32,000 of ImageNet's 1.28 million


class Embedded(NamedTuple):
    """The embeddings of pictures.

    Attributes:
        whole: (B, W), length 1, from the picture.
        tiles: (B, W), length 1, from its tiles.
    """

    whole: Tensor
    tiles: Tensor


class PIRL(TwoViews):
    """Tell each picture from all others, by itself and by its shuffled tiles.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D); tiles are smaller.
        dim: Width D of those features.
        size: Side S of the crops, in pixels.
        samples: How many pictures there are, N, at least 2; None takes the data's.
        objective: "softmax" over the entries compared with, or "nce", noise contrast as in the
            authors' code.
        negatives: Number of other pictures' entries that each is compared with, m, at least 1. None
            is all of them, N - 1, up to 8,192 pictures; beyond, 4,096 are drawn, or one in 40
            pictures if that is more, up to the paper's 32,000.
        temperature: Divides cosines, above 0.
        head: "none", "linear" or "mlp", from the picture's features to what is compared.
        width: Width W of the vectors that are compared, at least 1.
        tile_width: Features a tile is reduced to before the tiles are joined, at least 1.
        grid: Tiles a side, G, 2 or 3.
        puzzle_weight: Weight of the tiles' loss, lambda of the paper, from 0 to 1.
        momentum: Share of an entry that stays when its picture is seen again, from 0 to below 1.
        filled: Whether the bank begins with the untrained network's embeddings, which takes one
            pass over the pictures. The paper's begins with random vectors.
        least_scale: Least share of the picture's area that a crop of the whole keeps, in (0, 1].
        without: What is left out of the augmentation: a comma list of crop, flip, jitter, grey.
    """

    needs = Needs(batch=Images, least_side=24)
    view_names = ANOTHER_EPOCH

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        samples: int | None = None,
        objective: Objective = "softmax",
        negatives: int | None = None,
        temperature: float = 0.1,
        head: HeadKind = "linear",
        width: int = 128,
        tile_width: int = 128,
        grid: int = 3,
        puzzle_weight: float = 0.5,
        momentum: float = 0.5,
        filled: bool = True,
        least_scale: float = 0.2,
        without: str = "",
    ) -> None:
        super().__init__(
            encoder, size=size, augmentation=AUGMENTATION, least_scale=least_scale, without=without
        )
        samples = _check(samples, grid, puzzle_weight, tile_width)
        self.grid = grid
        self.puzzle_weight = puzzle_weight
        self.side = side_of_tiles(size, grid, TILE)
        self.puzzle_augmentation = _of_puzzles(self.augmentation)
        self.head = Head(dim, width, head)
        self.each = nn.Linear(dim, tile_width)
        self.joint = nn.Linear(grid * grid * tile_width, self.head.width)
        self.bank = MemoryBank(samples, self.head.width, momentum)
        self.contrast = NoiseContrast(
            samples,
            objective=objective,
            negatives=_usual_negatives(samples) if negatives is None else negatives,
            temperature=temperature,
        )
        self.contrast.estimate(self.bank)
        self.filled = filled
        self.blind, self.chance = self.contrast.blind, self.contrast.chance
        self.last: tuple[Tensor, Tensor] | None = None  # places and vectors of the last step

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Take the number of pictures from the data, and the negatives from it."""
        samples = samples_of(facts, "pirl")
        return {"samples": samples, "negatives": _usual_negatives(samples)}

    def look_at(self, batch: Images) -> None:
        """Set the batch statistics of the untrained network from some pictures."""
        if self.filled:
            images, extent = batch.images[:CALIBRATING], batch.extent[:CALIBRATING]
            calibrate(self.encoder, [centre_view(images, extent, self.size)])

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Fill the bank before the first epoch; no parameter is reset."""
        if self.filled and epoch.number == 0:
            self.bank.fill(epoch.features_of(nn.Sequential(self.encoder, self.head)))
            self.contrast.estimate(self.bank)
        return []

    def hide(self, batch: Images) -> tuple[Tensor, Asked]:
        """Make a view and a puzzle of every picture: -> (2B, C, S, S), what they are asked.

        First come the views, then the puzzles: tiles in a random order, side by side at the top
        left; the rest is black and is not used.
        """
        views = augmented(batch, self.size, self.augmentation)
        pictures = torch.cat([views, self.puzzles(batch)])
        return pictures, Asked(batch.index, self.contrast.draw(batch))

    def puzzles(self, batch: Images) -> Tensor:
        """Cut crops into tiles, and lay these out in any order: -> (B, C, S, S)."""
        crops = augmented(batch, self.size, self.puzzle_augmentation, name="puzzle")
        order = batch.draws.uniform("puzzle/order", self.grid**2).argsort(dim=1)  # (B, N)
        tiles = cut_tiles(crops, batch, self.grid, self.side, cells=order, name="puzzle/tiles")
        laid = put_together(tiles, self.grid)
        edge = self.size - laid.shape[-1]
        return nn.functional.pad(laid, (0, edge, 0, edge))

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed whole pictures: (B, C, S, S) -> (B, W), length 1."""
        return of_length_1(self.head(self.encoder(pictures)))

    def embed_puzzles(self, puzzles: Tensor) -> Tensor:
        """Embed pictures by their tiles, each seen alone: (B, C, S, S) -> (B, W), length 1."""
        side = self.side
        extent = self.grid * side
        cells = puzzles[..., :extent, :extent].unfold(2, side, side).unfold(3, side, side)
        tiles = cells.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)  # (B N, C, t, t)
        each = self.each(self.encoder(tiles))
        return of_length_1(self.joint(each.view(len(puzzles), -1)))

    def predict(self, pictures: Tensor) -> Embedded:
        """Say where each picture belongs: views and puzzles (2B, C, S, S) -> two of (B, W).

        Two passes, since the encoder sees two sizes.
        """
        views, puzzles = pictures.chunk(2)
        return Embedded(self.embed(views), self.embed_puzzles(puzzles))

    def score(self, embedded: Embedded, asked: Asked) -> Score:
        """Compare both with the bank.

        Returns:
            Loss in nats; accuracy, the share of pictures nearest to their own entry, and the same
            by tiles, in [0, 1].
        """
        self.last = (asked.places, embedded.whole.detach())
        both, index = torch.cat(embedded), asked.places.repeat(2)
        losses, found = self.contrast(both, index, asked.noise, self.bank)
        whole, tiles = losses.view(2, -1).mean(dim=1)
        accuracy, by_tiles = found.view(2, -1).mean(dim=1)
        loss = (1 - self.puzzle_weight) * whole + self.puzzle_weight * tiles
        return Score(loss, {"accuracy": accuracy, "accuracy_by_tiles": by_tiles})

    def forward(self, batch: Images) -> Score:
        pictures, asked = self.hide(batch)
        return self.score(self.predict(pictures), asked)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Update the bank: -> the cosine between old and new entries of the step's pictures."""
        if self.last is None:
            return {}
        moved, self.last = self.bank.follow(*self.last), None
        return {"target_cosine": moved}

    def targets(self) -> dict[str, Tensor]:
        """Give the bank's entries."""
        return {"bank": self.bank.entries}

    def notes(self) -> tuple[str, ...]:
        """Say what grows with the data."""
        return (self.bank.note(),)


def _usual_negatives(samples: int) -> int:
    """Choose with how many entries to compare: in much data with the paper's share of ImageNet."""
    return usual_negatives(samples, min(max(samples // PART_DRAWN, DRAWN), AT_MOST))


def _of_puzzles(augmentation: Augmentation) -> Augmentation:
    """Make the augmentation of puzzles: larger crops, with the views' changes of colour."""
    return replace(augmentation, scale=(max(LEAST_PUZZLE, augmentation.scale[0]), 1.0))


def _check(samples: int | None, grid: int, weight: float, tile_width: int) -> int:
    """Refuse settings outside their ranges, NaN too: -> the number of pictures."""
    if samples is None or samples < 2:
        raise ValueError(f"samples must be at least 2, as many as the data has, got {samples}")
    if grid not in (2, 3):
        raise ValueError(f"grid must be 2 or 3 tiles a side, got {grid}")
    if not 0 <= weight <= 1:
        raise ValueError(f"puzzle_weight must be from 0 to 1, got {weight}")
    if tile_width < 1:
        raise ValueError(f"tile_width must be at least 1, got {tile_width}")
    return samples

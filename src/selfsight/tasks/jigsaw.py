"""Jigsaw: cut a picture into tiles, shuffle them, then ask how.

Hidden:     which of a set of permutations shuffled the tiles of each picture.
Predicted:  the permutation's number, from the tiles' features side by side.
Scored:     cross-entropy over P permutations; a blind guess costs log P nats.

Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV
2016, https://arxiv.org/abs/1603.09246, section 3.

The encoder sees every tile alone; tiles meet in the head only, so that what must be learned is what
a tile shows. Four cures keep puzzles from being solved by the edges of the pieces: tiles lie at
random within larger cells, each channel of a tile is standardised (within the encoder, so that
probes do the same), the permutations differ much, and some pictures are grey, since colours that a
lens has spread tell where in the picture a tile was.

We depart from the paper in sizes: tiles of 12 px for pictures of 32, in a puzzle of 2 x 2. Pictures
are not mirrored, as in the paper: which side of a thing a tile shows would be told less often by
what it shows. In a short training on CIFAR-10, mirrored pictures taught no more.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.color_sequence import greyed
from selfsight.augment.tile_grid import cut_tiles, put_together, side_of_tiles
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Feed, fed
from selfsight.layers.permutations import kept_permutations
from selfsight.tasks.base import Facts, Needs, Score
from selfsight.tasks.cropping import Cropping

PERMUTATIONS = {2: 24, 3: 100}  # by grid: all of 2 x 2
THREE_FROM = 64  # pixels a side: below, tiles of a 3 x 3 puzzle show next to nothing


class Jigsaw(Cropping):
    """Predict how the tiles of a picture were shuffled.

    Args:
        encoder: Maps pictures (B, C, t, t) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crop that is cut into tiles, in pixels.
        grid: Tiles a side, 2 or 3; N is its square. Derived: 2 for crops below 64 px.
        permutations: How many, P, of the N! there are, at least 2; None takes all 24 of 2 x 2
            tiles, and 100 of 3 x 3. More of them are more alike, and the puzzle is harder.
        tile: Side of a tile as a share of its cell's, in (0, 1]; 1 leaves no gap.
        grey: Share of pictures shown in grey, in [0, 1]; only colours of 3 channels can go.
        standardised: Whether every channel of a tile is brought to mean 0 and deviation 1.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1]. In a short
            training on CIFAR-10, 0.8 taught more than 0.5.
        tile_width: Features a tile is reduced to before the tiles are joined, at least 1.
        hidden_width: Features of the joined tiles, at least 1.
    """

    needs = Needs(batch=Images, least_side=16, wanted_side=112)
    permutations: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        grid: int = 2,
        permutations: int | None = None,
        tile: float = 0.75,
        grey: float = 0.3,
        standardised: bool = True,
        least_scale: float = 0.8,
        tile_width: int = 64,
        hidden_width: int = 256,
    ) -> None:
        _check(grid, grey, min(tile_width, hidden_width))
        feed = Feed(standardised="channel" if standardised else None)
        super().__init__(fed(encoder, feed), size=size, least_scale=least_scale)
        self.grid, self.grey = grid, grey
        self.tiles, self.side = grid * grid, side_of_tiles(size, grid, tile)
        # permutations[a, j] is the cell whose tile puzzle a shows at place j.
        count = PERMUTATIONS[grid] if permutations is None else permutations
        chosen = kept_permutations(count, self.tiles)
        self.register_buffer("permutations", chosen)
        self.each = nn.Sequential(
            nn.Linear(dim, tile_width), nn.BatchNorm1d(tile_width), nn.ReLU(inplace=True)
        )
        self.joint = nn.Sequential(
            nn.Linear(self.tiles * tile_width, hidden_width),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_width, len(chosen)),
        )
        self.blind = math.log(len(chosen))
        self.chance = 1 / len(chosen)

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Choose the grid by the crop's side, and the permutations by the grid."""
        usual = 2 if facts.side < THREE_FROM else 3
        grid = facts.chosen.get("grid") or usual
        return {"grid": usual, "permutations": PERMUTATIONS.get(grid)}

    @classmethod
    def encoder_side(cls, size: int, settings: Mapping[str, Any]) -> int:
        """Tell the side of a tile."""
        return side_of_tiles(size, settings["grid"], settings["tile"])

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Crop, cut and shuffle: -> tiles (B N, C, t, t), numbers of permutations (B,).

        Every picture has a permutation of its own.
        """
        drawn = batch.draws.uniform("jigsaw/permutation", 1)[:, 0]
        numbers = (drawn * len(self.permutations)).long()
        tiles = self.cut(batch, self.permutations[numbers])
        return tiles.flatten(0, 1), numbers

    def cut(self, batch: Images, cells: Tensor | None = None) -> Tensor:
        """Cut the tiles of a crop of every picture: -> (B, N, C, t, t).

        Args:
            batch: The pictures.
            cells: (B, N) which cell's tile comes at which place; None leaves them in order.
        """
        scale = (self.least_scale, 1.0)
        crops = random_view(batch, self.size, scale=scale, ratio=(1.0, 1.0), flip=0.0)
        if self.grey and crops.shape[1] == 3:
            without = batch.draws.uniform("jigsaw/grey", 1)[:, :, None, None] < self.grey
            crops = crops.lerp(greyed(crops), without.float())
        return cut_tiles(crops, batch, self.grid, self.side, cells=cells, name="jigsaw/tiles")

    def put_together(self, tiles: Tensor, numbers: Tensor) -> Tensor:
        """Undo permutations: tiles (B N, C, t, t), numbers (B,) -> pictures (B, C, G t, G t)."""
        shuffled = tiles.unflatten(0, (-1, self.tiles))
        rows = torch.arange(len(shuffled), device=tiles.device)[:, None]
        return put_together(shuffled[rows, self.permutations[numbers].argsort(dim=1)], self.grid)

    def predict(self, tiles: Tensor) -> Tensor:
        """Guess the permutation from the tiles as they lie: (B N, C, t, t) -> logits (B, P)."""
        each = self.each(self.encoder(tiles))
        return self.joint(each.view(-1, self.tiles * each.shape[1]))

    def score(self, logits: Tensor, numbers: Tensor) -> Score:
        """Compare the guesses with the permutations; loss in nats, accuracy in [0, 1]."""
        accuracy = (logits.argmax(dim=1) == numbers).float().mean()
        return Score(F.cross_entropy(logits.float(), numbers), {"accuracy": accuracy})

    def forward(self, batch: Images) -> Score:
        tiles, numbers = self.hide(batch)
        return self.score(self.predict(tiles), numbers)


def _check(grid: int, grey: float, width: int) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if grid not in PERMUTATIONS:
        raise ValueError(f"grid must be 2 or 3 tiles a side, got {grid}")
    if not 0 <= grey <= 1:
        raise ValueError(f"grey must be a share of the pictures, from 0 to 1, got {grey}")
    if width < 1:
        raise ValueError(f"tile_width and hidden_width must be at least 1, got {width}")

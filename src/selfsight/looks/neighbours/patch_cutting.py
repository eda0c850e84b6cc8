"""Patch cutting: squares of pictures as they are stored, at random places, without resampling.

With them a sheet of neighbours becomes that of Doersch, Gupta, Efros, "Unsupervised Visual
Representation Learning by Context Prediction", ICCV 2015, https://arxiv.org/abs/1505.05192,
figure 4: which parts of other pictures are most similar to a patch for a network.

Legend: N pictures, k patches a picture, M = N k patches, p side of a patch, S of the canvas.
"""

import torch
from torch import Tensor

from selfsight.data.pictures.canvases import Canvases, Taken
from selfsight.data.pictures.scaling import as_float
from selfsight.draws import Draws

WANTED, FEWEST, MOST = 5000, 4, 64  # patches in all, and least and most of them a picture
BATCH = 256  # patches


def patches_a_picture(count: int) -> int:
    """Choose k so that there are about `WANTED` patches of `count` pictures."""
    return min(max(-(-WANTED // count), FEWEST), MOST)


def random_places(extent: Tensor, side: int, a_picture: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw places of patches in whole pixels, evenly over all places where they fit.

    Args:
        extent: (N, 2) height and width of the pictures on their canvases, in pixels.
        side: Side p of the patches.
        a_picture: Patches k of each picture.
        seed: Seed of the places; those of a picture depend on this and its row alone.

    Returns:
        Owners (M,) int64, the picture each patch is of, and corners (M, 2) int64, top and left.
        Pictures with a side under p have no patches.
    """
    large = (extent.amin(dim=1) >= side).nonzero()[:, 0]
    drawn = Draws(seed, 0, large).uniform("patches", 2 * a_picture).view(-1, a_picture, 2)
    room = (extent[large] - side + 1)[:, None]  # (N, 1, 2)
    corners = (drawn * room).long().minimum(room - 1)
    return large.repeat_interleave(a_picture), corners.flatten(0, 1)


class Patches(Canvases):
    """Patches in the form of stored pictures, cut when they are read.

    Args:
        images: (N, C, S, S) canvases.
        owners: (M,) int64, the picture each is of.
        corners: (M, 2) int64 top and left on the canvas, in pixels.
        side: Side p, in pixels.
    """

    def __init__(
        self, images: Tensor | Canvases, owners: Tensor, corners: Tensor, side: int
    ) -> None:
        self.images, self.owners, self.corners, self.side = images, owners, corners, side
        self.shape = (len(owners), images.shape[1], side, side)
        self.dtype = images.dtype

    def taken(self, rows: Tensor) -> Taken:
        """Cut the patches of `rows` (B,) int64."""
        owners, again = self.owners[rows].unique(return_inverse=True)
        canvases = self.images[owners]  # each picture once, however many patches it has here
        along = torch.arange(self.side)
        down = self.corners[rows, 0, None] + along  # (B, p)
        across = self.corners[rows, 1, None] + along
        # Index arrays on both sides of the channels' slice bring these last: (B, p, p, C).
        cut = canvases[again[:, None, None], :, down[:, :, None], across[:, None, :]]
        extent = torch.full((len(rows), 2), self.side)
        return Taken(cut.permute(0, 3, 1, 2).contiguous(), extent, rows)


def deviation(patches: Tensor | Canvases) -> Tensor:
    """Measure how structured each patch is, by the standard deviation of its grey values.

    Returns:
        (M,) float32, in [0, 0.5].
    """
    rows = torch.arange(len(patches))
    greys = (as_float(patches[part]).mean(dim=1) for part in rows.split(BATCH))
    return torch.cat([grey.flatten(1).std(dim=1, correction=0) for grey in greys])


def structured(patches: Tensor | Canvases) -> Tensor:
    """Choose the half of the patches that deviate most: -> rows in their order, int64.

    Flat patches (sky, walls, dark corners) are near other flat patches for any network.
    """
    spread = deviation(patches)
    return (spread >= spread.median()).nonzero()[:, 0]

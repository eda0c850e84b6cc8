"""Patch dictionary: learn which patches pictures are made of, without a gradient.

Hidden:     the pixels of small patches, each brought to mean 0 and deviation 1, and whitened.
Predicted:  them, by the nearest of a dictionary of centroids, which k-means finds in closed form.
Scored:     squared distance to the centroid, as a share of the patches' own squared length; a
            blind guess costs 1, that of the mean patch.

Coates, Lee, Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature
Learning", AISTATS 2011, https://proceedings.mlr.press/v15/coates11a.html, section 3.

There is no training: patches are cut at random places, whitened, and clustered by k-means, and the
encoder (`encoders/patch_dictionary.py`) stores the centroids. A network must beat it to show that
it learned more than which patches occur; with very many centroids it beat the deep networks of its
time.

We depart from the paper in the number of patches (about 100,000 instead of 400,000, from which
centroids hardly differ) and of centroids (400 instead of 1,600 and more, for a probe in seconds).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsight.augment.views import centre_view
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder
from selfsight.encoders.patch_dictionary import SelfsightPatchDictionary, standardised_patches
from selfsight.errors import SelfsightError, UsageError
from selfsight.layers.kmeans import assigned, kmeans
from selfsight.layers.whitening import Whitening
from selfsight.tasks.base import Facts, Needs, Score, Task

ENCODER = "patch-dictionary"  # the one encoder that can be fitted
PICTURES = 20_000  # that are looked at, where no number is asked for
CENTROIDS, FEW_CENTROIDS = 400, 16
PATCHES_A_CENTROID = 250  # that it is learned from: with more of them it hardly moves
PICTURES_A_CENTROID = 2  # at least: patches of one picture are much alike
EPSILON = 0.1  # added to the variances that whitening divides by, as in the authors' program
LEAST_DIFFERENCE = 1e-3  # of standardised patches; what differs by less is one patch


class PatchesAlike(SelfsightError):
    """All patches of all pictures are equal, so there is nothing to make a dictionary of."""


class PatchDictionary(Task):
    """Find the centroids of whitened patches.

    Args:
        encoder: An `Encoder` of name "patch-dictionary", which takes them up.
        dim: Width D of its features, a quarter of it a centroid.
        size: Side S of the pictures that the encoder sees, in pixels.
        centroids: Patches K in the dictionary, at least 2; None for 400, or one for every two
            pictures where there are fewer, but at least 16.
        patches: How many are cut from each picture, at least 1; None for so many that each centroid
            has 250.
        iterations: Times that centroids move, at most; at least 1.
    """

    needs = Needs(batch=Images, samples=PICTURES)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        centroids: int | None = None,
        patches: int | None = None,
        iterations: int = 10,
    ) -> None:
        super().__init__(encoder)
        model = encoder.model if isinstance(encoder, Encoder) else encoder
        if not isinstance(model, SelfsightPatchDictionary):
            raise ValueError(
                f"{ENCODER} is fitted to encoder {ENCODER!r} only, got {type(model).__name__}"
            )
        if centroids is not None and centroids != len(model.centroids):
            raise ValueError(
                f"centroids must be the {len(model.centroids)} of the encoder, got {centroids}"
            )
        _at_least("patches", patches, 1)
        _at_least("iterations", iterations, 1)
        self.size = size
        self.patches = 1 if patches is None else patches
        self.rounds = iterations
        self.blind = 1.0

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Choose the dictionary's size and the patches of a picture by how many pictures there are.

        `facts.samples` counts the pictures that are looked at.

        Raises:
            UsageError: If the chosen patches of all of them are fewer than the centroids, or a
                number that was chosen is too low.
        """
        usual = min(CENTROIDS, max(FEW_CENTROIDS, facts.samples // PICTURES_A_CENTROID))
        _at_least("centroids", facts.chosen.get("centroids"), 2)
        for name in ("patches", "iterations"):
            _at_least(name, facts.chosen.get(name), 1)
        centroids = facts.chosen.get("centroids") or usual
        cut = facts.chosen.get("patches")
        if cut is not None and cut * facts.samples < centroids:
            raise UsageError(
                f"a dictionary needs a patch for each of its {centroids:,} centroids, got {cut} of "
                f"each of {facts.samples:,} pictures; set fewer centroids or more patches"
            )
        patches = -(-PATCHES_A_CENTROID * centroids // facts.samples)
        return {"centroids": usual, "patches": patches}

    @classmethod
    def encoder_of(cls, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Name the encoder that settled settings are for, and its arguments."""
        return ENCODER, {"centroids": settings["centroids"]}

    @property
    def model(self) -> SelfsightPatchDictionary:
        """The network that holds the dictionary."""
        encoder = self.encoder
        return cast(SelfsightPatchDictionary, getattr(encoder, "model", encoder))

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Cut patches at places drawn: -> patches (N, C, p, p), as fed, and whitened (N, D)."""
        patches = self._cut(batch)
        return patches, self.model.whitened(patches)

    def predict(self, patches: Tensor) -> Tensor:
        """Find the nearest centroid of each patch: (N, C, p, p) -> centroids (N, D)."""
        return self.model.centroids[assigned(self.model.whitened(patches), self.model.centroids)]

    def score(self, centroids: Tensor, whitened: Tensor) -> Score:
        """Compare the guesses with the patches: loss in shares of their squared length, from 0."""
        missed = (whitened - centroids).square().sum()
        return Score(missed / whitened.square().sum(), {})

    def forward(self, batch: Images) -> Score:
        patches, whitened = self.hide(batch)
        return self.score(self.predict(patches), whitened)

    @torch.no_grad()
    def fit(
        self,
        batches: Iterable[Images],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Whiten the patches of all batches and find their centroids, for the encoder to take up.

        Args:
            batches: The pictures to look at, each once; at least one a centroid's patch.
            seed: Of the patches at which k-means begins.
            progress: Is told after every iteration how many there were, and how many there will be.

        Raises:
            ValueError: If there are fewer patches than centroids.
            PatchesAlike: If they do not differ, as those of plain colours.
        """
        parts = [standardised_patches(self._cut(batch).flatten(1)) for batch in batches]
        rows = torch.cat(parts)  # (N, D)
        model = self.model
        if len(rows) < len(model.centroids):
            raise ValueError(
                f"a dictionary needs a patch for each of its {len(model.centroids)} centroids, got "
                f"{len(rows)}; set fewer centroids or more patches"
            )
        if float((rows - rows[:1]).abs().max()) < LEAST_DIFFERENCE:
            raise PatchesAlike(
                f"a dictionary needs patches that differ, and the {len(rows):,} cut from these "
                "pictures are all alike, of plain colour; give other pictures"
            )
        whitening = Whitening.of(rows, epsilon=EPSILON, form="zca")
        found = kmeans(
            whitening.apply(rows),
            len(model.centroids),
            seed=seed,
            iterations=self.rounds,
            progress=progress,
        )
        model.take(whitening.mean, whitening.matrix, found.centroids)

    def _cut(self, batch: Images) -> Tensor:
        """Cut patches at places drawn from every picture, as fed: -> (B P, C, p, p)."""
        pictures = self._fed(centre_view(batch.images, batch.extent, self.size))
        side, places = self.model.patch, self.patches
        free = pictures.shape[-1] - side + 1  # places across, and down
        drawn = (batch.draws.uniform("patches", 2 * places) * free).long().clamp(max=free - 1)
        top, left = drawn[:, ::2], drawn[:, 1::2]  # (B, P)
        offset = torch.arange(side, device=pictures.device)
        rows = (top[..., None] + offset)[..., :, None]  # (B, P, p, 1)
        columns = (left[..., None] + offset)[..., None, :]  # (B, P, 1, p)
        which = torch.arange(len(pictures), device=pictures.device)[:, None, None, None]
        cut = pictures.permute(0, 2, 3, 1)[which, rows, columns]  # (B, P, p, p, C)
        return cut.flatten(0, 1).permute(0, 3, 1, 2)

    def _fed(self, pictures: Tensor) -> Tensor:
        """Give what the network is fed of pictures in [0, 1], made small as it does."""
        encoder = cast(nn.Module, self.encoder)
        if isinstance(encoder, Encoder):
            mean, deviation = cast(Tensor, encoder.mean), cast(Tensor, encoder.deviation)
            pictures = encoder.recipe.feed(pictures, mean, deviation)
        return self.model.reduced(pictures)


def _at_least(name: str, value: int | None, least: int) -> None:
    """Refuse a number that is too low; None is chosen later."""
    if value is not None and value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}")

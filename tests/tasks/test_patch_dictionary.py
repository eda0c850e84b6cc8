"""Patch dictionary: its score by hand, its fit against scikit-learn, and what it is chosen by."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import Encoder, build
from selfsight.errors import UsageError
from selfsight.tasks.base import Facts
from selfsight.tasks.patch_dictionary import EPSILON, PatchDictionary, PatchesAlike

SIZE = 16


def made(*, centroids: int = 8, size: int = SIZE, **settings: Any) -> PatchDictionary:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build("patch-dictionary", size=size, arguments={"centroids": centroids})
    return PatchDictionary(encoder, encoder.dim, size=size, **settings)


def waves(count: int, *, seed: int = 0) -> Images:
    """Pictures (N, 3, 16, 16) of stripes in four directions, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    down, across = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    ways = torch.stack([down, across, down + across, down - across])
    stripes = (ways[torch.arange(count) % 4] % 4 < 2) * 120.0 + 60
    noise = 3 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return Images.of((stripes[:, None] + noise).clamp(0, 255).to(torch.uint8), seed=seed)


def test_the_score_is_the_share_that_the_nearest_centroid_misses() -> None:
    # Patches (3, 4) and (0, 5), centroids guessed (3, 0) and (0, 0): missed 16 + 25 of 25 + 25.
    whitened = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    guesses = torch.tensor([[3.0, 0.0], [0.0, 0.0]])

    assert made().score(guesses, whitened).loss.item() == pytest.approx(41 / 50)
    assert made().score(torch.zeros(2, 2), whitened).loss.item() == made().blind == 1.0


def test_patches_are_cut_where_the_draws_say() -> None:
    task, batch = made(patches=3), waves(2)

    patches, _ = task.hide(batch)

    places = (batch.draws.uniform("patches", 6) * 11).long()  # 16 - 6 + 1 places a side
    pictures = (batch.images / 255 - 0.5) / 0.25
    for number in range(6):
        picture, which = divmod(number, 3)
        top, left = places[picture, 2 * which : 2 * which + 2].tolist()
        expected = pictures[picture, :, top : top + 6, left : left + 6]
        assert torch.allclose(patches[number], expected, atol=1e-5)


def test_each_patch_is_told_by_its_nearest_centroid() -> None:
    task = made()
    generator = torch.Generator().manual_seed(0)
    task.model.take(
        torch.randn(108, generator=generator),
        torch.randn(108, 108, generator=generator),
        torch.randn(8, 108, generator=generator),
    )

    patches, whitened = task.hide(waves(5))

    centroids = task.predict(patches)
    distances = torch.cdist(whitened, task.model.centroids)
    assert torch.equal(centroids, task.model.centroids[distances.argmin(dim=1)])


def test_the_fit_is_zca_and_k_means_of_scikit_learn() -> None:
    task, batch = made(patches=40, iterations=100), waves(64)

    task.fit([batch], seed=3)

    patches, whitened = task.hide(batch)
    x = patches.flatten(1).double()
    x = x - x.mean(dim=1, keepdim=True)
    x = x / (x.var(dim=1, keepdim=True) + 10 / 63.75**2).sqrt()
    values, directions = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    # The mean over a patch was taken away: in that direction nothing varies, and nothing is kept.
    scale = np.where(values > 1e-6 * values.max(), 1 / np.sqrt(values + EPSILON), 0)
    zca = directions @ np.diag(scale) @ directions.T
    z = (x.numpy() - x.numpy().mean(axis=0)) @ zca
    assert np.allclose(whitened.numpy(), z, atol=2e-3)
    start: dict[str, Any] = {"init": task.model.centroids.numpy(), "n_init": 1}
    theirs = KMeans(8, **start).fit(z)
    ours = float((whitened - task.predict(patches)).square().sum())
    assert ours == pytest.approx(theirs.inertia_, rel=0.01)


def test_a_fit_explains_far_more_than_a_guess_and_than_random_directions() -> None:
    task, batch = made(patches=20, centroids=32), waves(200)
    before = task(batch).loss.item()

    task.fit([batch])

    other = waves(80, seed=5)
    assert before == pytest.approx(1, abs=0.1)
    assert task(other).loss.item() < 0.7


def test_parts_and_seed_decide_the_fit_and_nothing_else() -> None:
    whole = waves(40)
    parts = [rows_of(whole, range(0, 25)), rows_of(whole, range(25, 40))]
    found: list[Tensor] = []
    for batches, seed in (([whole], 0), (parts, 0), ([whole], 1)):
        task = made(patches=10)
        torch.rand(3)  # what others draw does not matter
        task.fit(batches, seed=seed)
        found.append(task.model.centroids)

    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert not torch.allclose(found[0], found[2], atol=1e-4)


def rows_of(batch: Images, rows: range) -> Images:
    index = batch.index[list(rows)]
    draws = Draws(batch.draws.seed, batch.draws.epoch, index)
    return Images(batch.images[index], batch.extent[index], index, draws)


@pytest.mark.parametrize(
    ("samples", "chosen", "expected"),
    [
        (50_000, {}, {"centroids": 400, "patches": 2}),
        (20_000, {}, {"centroids": 400, "patches": 5}),
        (300, {}, {"centroids": 150, "patches": 125}),
        (8, {}, {"centroids": 16, "patches": 500}),
        (20_000, {"centroids": 1600}, {"centroids": 400, "patches": 20}),
    ],
)
def test_dictionary_and_patches_follow_the_data(
    samples: int, chosen: dict[str, Any], expected: dict[str, int]
) -> None:
    facts = Facts(samples, 0, 3, 32, samples, chosen=chosen)

    assert PatchDictionary.derive(facts) == expected


def test_eight_pictures_do() -> None:
    task, images = made(**PatchDictionary.derive(Facts(8, 0, 3, SIZE, 8))), waves(8).images
    task.fit([Images.of(images)])

    with torch.no_grad():
        assert cast(Encoder, task.encoder)(images / 255).isfinite().all()


def test_flat_pictures_are_refused() -> None:
    task = made(**PatchDictionary.derive(Facts(8, 0, 3, SIZE, 8)))

    with pytest.raises(PatchesAlike, match=r"patches that differ, and the .* are all alike"):
        task.fit([Images.of(torch.full((8, 3, SIZE, SIZE), 7, dtype=torch.uint8))])


def test_what_cannot_be_fitted_is_refused() -> None:
    small = build("small", size=32, arguments={"stem": 16, "widths": (16, 32)})
    said = "patch-dictionary is fitted to encoder 'patch-dictionary' only, got SelfsightSmall"
    with pytest.raises(ValueError, match=said):
        PatchDictionary(small, small.dim, size=32)
    with pytest.raises(ValueError, match="centroids must be the 8 of the encoder, got 9"):
        PatchDictionary(made().encoder, 32, size=SIZE, centroids=9)
    with pytest.raises(ValueError, match="patches must be at least 1, got 0"):
        made(patches=0)
    with pytest.raises(ValueError, match="iterations must be at least 1, got -1"):
        made(iterations=-1)
    with pytest.raises(ValueError, match="a patch for each of its 8 centroids, got 3"):
        made().fit([waves(3)])


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"centroids": 1}, "centroids must be at least 2, got 1"),
        ({"centroids": 0}, "centroids must be at least 2, got 0"),
        ({"centroids": -4}, "centroids must be at least 2, got -4"),
        ({"patches": 0}, "patches must be at least 1, got 0"),
        ({"iterations": -1}, "iterations must be at least 1, got -1"),
        ({"centroids": 101, "patches": 1}, "for each of its 101 centroids, got 1 of each of 100"),
    ],
)
def test_a_dictionary_that_cannot_be_is_refused_before_it_is_begun(
    chosen: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        PatchDictionary.derive(Facts(100, 0, 3, 32, 100, chosen=chosen))


def test_a_patch_for_each_centroid_is_enough() -> None:
    chosen = {"centroids": 100, "patches": 1}

    PatchDictionary.derive(Facts(100, 0, 3, 32, 100, chosen=chosen))

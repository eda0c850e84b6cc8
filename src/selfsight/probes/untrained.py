"""Untrained: the same network with fresh weights; its answers and the pixels' are kept.

An untrained network has the same architecture, random weights, and batch-norm statistics of the
training pictures: without these it would be judged by statistics that come from no data. Answers
are kept in the cache folder under a hash of everything they depend on.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from selfsight import encoders
from selfsight.data.batches import some_rows
from selfsight.data.samples import Samples
from selfsight.distributed.calibration import calibrate
from selfsight.encoders import BaseEncoder, BaseRecipe
from selfsight.encoders.base import E
from selfsight.encoders.finite import refuse_non_finite_features
from selfsight.errors import SelfsightError
from selfsight.probes.measure import Answers
from selfsight.system import atomic, machine
from selfsight.system.machine import CACHE

INITIALISATIONS = 8  # of fewer, first weights' luck is known too badly; see intervals.py
OTHER_SEEDS = tuple(range(1_000_001, 1_000_000 + INITIALISATIONS))  # besides the run's own
REVISION = 3  # of how baselines are computed: another one makes kept answers useless
CALIBRATED_ON, BATCH = 2048, 256  # samples


def untrained_seeds(seed: int, *, quick: bool) -> tuple[int, ...]:
    """Choose the seeds of the untrained networks, the run's own seed first."""
    return (seed,) if quick else (seed, *OTHER_SEEDS)


def untrained_encoder(
    recipe: BaseRecipe[E], seed: int, inputs: Tensor, *, device: str = "cpu"
) -> E:
    """Build an encoder with fresh weights and statistics of these samples.

    Args:
        recipe: The architecture.
        seed: Seed of the weights: a run's own seed gives its initial weights.
        inputs: (N, ...) training samples as the encoder takes them, see `calibrating`.
        device: Where it is to be.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = encoders.from_recipe(recipe)
    encoder.to(device)
    calibrate_on(encoder, inputs)
    return encoder.eval()


def calibrating(samples: Samples) -> Tensor:
    """Take the samples that batch statistics are computed on, as an encoder takes them."""
    return samples.seen(some_rows(len(samples), CALIBRATED_ON))


def calibrate_on(encoder: BaseEncoder, inputs: Tensor) -> None:
    """Calibrate an encoder on samples (N, ...) as it takes them."""
    device = next(encoder.parameters()).device
    calibrate(encoder, (batch.to(device) for batch in inputs.split(BATCH)))


def kept_answers(
    described: dict[str, Any],
    train: Samples,
    test: Samples,
    compute: Callable[[], Answers],
) -> Answers:
    """Give answers from the cache, or compute and keep them.

    Args:
        described: What they depend on besides the samples, as plain values.
        train: The samples probes are fitted on.
        test: The samples that are answered.
        compute: Makes them.
    """
    whole = {
        **described,
        "revision": REVISION,
        "data": [train.fingerprint, test.fingerprint],
        "versions": [version(name) for name in ("selfsight", "torch", "timm")],
    }
    key = hashlib.blake2b(json.dumps(whole, sort_keys=True).encode(), digest_size=16).hexdigest()
    path = machine.cache_folder() / "baselines" / f"{key}.npz"
    with contextlib.suppress(SelfsightError):  # not there, or damaged: computed anew
        kept = Answers.load(path)
        if kept.fit(test):
            return kept
    answers = compute()
    with atomic.kept_if_possible("the answers of untrained networks and pixels"):
        answers.save(atomic.folder(path.parent, another=CACHE) / path.name, another=CACHE)
    return answers


@torch.inference_mode()
def final_features(encoder: BaseEncoder, inputs: Tensor) -> Tensor:
    """Encode samples (N, ...) as the encoder takes them: -> pooled features (N, D) float32.

    Raises:
        SelfsightError: If one is NaN or infinite.
    """
    was_training = encoder.training
    device = next(encoder.parameters()).device
    encoder.eval()
    parts = [encoder(batch.to(device)).float().cpu() for batch in inputs.split(BATCH)]
    encoder.train(was_training)
    features = torch.cat(parts)
    refuse_non_finite_features({"pooled": features})
    return features

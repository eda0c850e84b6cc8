"""Periodic: a small probe that is repeated while a network is trained.

Frozen:    a copy of the encoder; its batch-norm statistics are those of the labelled pictures, as
           in an untrained network's probe, so that the first steps can be compared with the last.
Fitted:    a linear probe and k-NN on every layer, from one draw of at most `LABELS` pictures.
Measured:  accuracy in [0, 1] on at most `TESTED` pictures; chance is the largest class's share.

The training is not affected: no weight, statistic, draw or generator changes.
"""

import copy
from typing import cast

import torch
from torch import Tensor

from selfsight.data.samples import Samples
from selfsight.data.source import S, labels_of
from selfsight.encoders import BaseEncoder
from selfsight.probes.measure import Kind, measure
from selfsight.probes.sampling import choose_labelled
from selfsight.probes.untrained import calibrate_on

LABELS, TESTED = 2000, 1000  # pictures
KINDS: tuple[Kind, ...] = ("linear", "knn")


def few(source: S, count: int) -> S:
    """Choose labelled pictures in proportion to the classes, the same ones every time.

    Raises:
        SelfsightError: If there are no labels of two classes or more.
    """
    labels = labels_of(source, "--probe-every", "leave --probe-every out")
    rows, _ = choose_labelled(labels, max(count, len(source.classes)), seed=0, draw=0)
    return cast(S, source.subset(rows.sort().values))


class PeriodicProbe:
    """Probes an encoder in training.

    Args:
        train: Labelled pictures to fit on, as the encoder sees them.
        test: Labelled pictures to answer for.
        device: Where to compute.
    """

    def __init__(
        self, train: Samples, test: Samples, *, device: torch.device | str = "cpu"
    ) -> None:
        self.train, self.test, self.device = train, test, torch.device(device)

    @property
    def chance(self) -> float:
        """Share of the largest class among the test pictures."""
        assert self.test.labels is not None  # as in `_columns`
        return float(self.test.labels.bincount().max() / len(self.test))

    def __call__(self, encoder: BaseEncoder) -> dict[str, float]:
        """Probe: -> columns of metrics.csv, accuracies in [0, 1].

        `probe.linear` and `probe.knn` are of the layer that is best on pictures held out, and
        `probe.linear.LAYER` of each.
        """
        with torch.random.fork_rng():
            twin = copy.deepcopy(encoder).eval()
            calibrate_on(twin, self.train.seen(torch.arange(len(self.train))))
            return {k: v for kind in KINDS for k, v in self._columns(twin, kind).items()}

    def _columns(self, twin: BaseEncoder, kind: Kind) -> dict[str, float]:
        answers = measure(
            twin, self.train, self.test, probe=kind, labels=LABELS, draws=1, device=self.device
        )
        assert self.test.labels is not None  # `measure` has asked for them
        right = _shares(answers.predictions[0], self.test.labels)
        named = {
            f"probe.{kind}.{name}": share for name, share in zip(answers.layers, right, strict=True)
        }
        return {f"probe.{kind}": right[answers.best], **named}


def _shares(predictions: Tensor, labels: Tensor) -> list[float]:
    """Give each layer's share of right answers: (L, T), (T,) -> L numbers."""
    return (predictions == labels).double().mean(dim=1).tolist()

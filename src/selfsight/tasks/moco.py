"""MoCo: find a picture's other view among a queue of the views of many others.

Hidden:     which of the keys in reach is of another view of the query's picture.
Predicted:  a direction for every query; keys come from an encoder that follows slowly.
Scored:     cross-entropy of the key among K in a queue; a blind guess costs log(1 + K) nats.

He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
CVPR 2020, https://arxiv.org/abs/1911.05722, section 3.

A queue of keys allows more negatives than a batch holds, but keys computed some steps ago are
useful only if their encoder has hardly moved since. Queries and keys need separate passes, through
encoders with different weights.

Batch statistics can reveal which key belongs to which query if both were normalised with the same
pictures. So the batch is normalised in groups, and keys are shuffled between the groups, also
across processes. If groups are divided evenly over processes, the number of processes does not
matter.

We depart from the paper in the queue's length, which follows the data's size; in the queue's
content before the first step, keys of some pictures instead of noise; and in not counting a key of
the query's own picture in the queue, which is frequent in small data, as a negative.
"""

import math
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation
from selfsight.augment.color import ColorJitter
from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import gathered, own_rows, processes
from selfsight.draws import Draws
from selfsight.encoders import Encoder
from selfsight.encoders.encoder import batch_norms
from selfsight.errors import UsageError
from selfsight.layers.batch_groups import in_groups, share_statistics
from selfsight.layers.drift import Drift
from selfsight.layers.heads import Head, HeadKind, of_length_1
from selfsight.layers.momentum import MomentumEncoder
from selfsight.layers.queue import Queue
from selfsight.tasks.base import Facts, Needs, Score
from selfsight.tasks.two_views import TwoViews

MOST_KEYS = 65_536
PICTURES_A_KEY = 12  # gives CIFAR-10 the 4,096 keys of the authors' demonstration
PICTURES_A_GROUP, MOST_GROUPS = 64, 8
NOT_COMPARED = -1e9  # finite, so that a queue of only a query's own keys has a gradient: none
FIRST_KEYS = 256  # pictures whose keys are queued before the first step


class Shuffled(NamedTuple):
    """The pictures that the shuffled keys belong to.

    Attributes:
        pictures: (P B,) int64, the places in the data of all processes' pictures.
        order: (P B,) int64, which of `pictures` was encoded in each place.
    """

    pictures: Tensor
    order: Tensor


class MoCo(TwoViews):
    """Find the key of the same picture among those of a queue.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the views, in pixels.
        queue: Keys in the queue, K, at least 1. Derived: a twelfth of the pictures in whole
            batches, from one batch up to 65,536 keys.
        momentum: Share of its weights that the keys' encoder keeps in a step, in [0, 1); 0 copies
            the queries'. Derived: 1 - 1 / max(100, 4 K / batch), so that it hardly moves while a
            key is in the queue, but still moves in short trainings.
        temperature: Divides cosines, above 0. The paper has 0.07, and the authors' demonstration
            on CIFAR-10 0.1.
        head: "none", "linear" or "mlp".
        width: Width of the head's output, at least 1.
        groups: Number of groups into which a batch is split for batch statistics, over all
            processes, at least 1; networks without batch statistics need only 1. Derived: groups of
            64 pictures or more, at most 8.
        symmetric: Whether each view is a query once and a key once, which doubles a step's cost.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        without: What is left out of the augmentation: a comma list of crop, flip, jitter, grey,
            blur.
    """

    needs = Needs(batch=Images, wanted_batch=128)
    joint_statistics = False  # of all processes: they would tell which key is whose
    # The paper's technical details: all colours are changed, and a fifth of the views lose them.
    usual_augmentation: ClassVar[Augmentation] = Augmentation(
        colors=ColorJitter(0.4, 0.4, 0.4, 0.4, share=1.0, grey=0.2), blur=0.0
    )

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        queue: int = 4096,
        momentum: float = 0.99,
        temperature: float = 0.1,
        head: HeadKind = "linear",
        width: int = 128,
        groups: int = 1,
        symmetric: bool = False,
        least_scale: float = 0.2,
        without: str = "",
    ) -> None:
        super().__init__(
            encoder,
            size=size,
            augmentation=self.usual_augmentation,
            least_scale=least_scale,
            without=without,
        )
        _check(momentum, temperature, groups)
        self.head = Head(dim, width, head)
        self.key = MomentumEncoder(encoder, self.head)
        self.queue = Queue(queue, self.head.width)
        self.momentum, self.temperature = momentum, temperature
        self.groups = groups if batch_norms(encoder) else 1
        self.has_statistics = bool(batch_norms(encoder))
        self.symmetric = symmetric
        self.blind = math.log(1 + queue)
        self.chance = 1 / (1 + queue)
        self.drift = Drift()
        self._pushed: tuple[Tensor, Tensor] | None = None  # keys and pictures of the last batch

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Choose the queue by the data's size, and momentum and groups by queue and batch.

        Raises:
            UsageError: If groups of fewer than two pictures were chosen.
        """
        asked, most = facts.chosen.get("groups"), facts.batch // 2
        if asked is not None and asked > max(1, most):
            raise UsageError(
                f"groups must be at most {most}, of two pictures or more of the batch of "
                f"{facts.batch}, got {asked}; set fewer groups or a larger batch"
            )
        batches = min(facts.samples // PICTURES_A_KEY, MOST_KEYS) // facts.batch
        length = facts.batch * max(1, batches)
        steps = (facts.chosen.get("queue") or length) / facts.batch  # that a key is in the queue
        groups = max(1, min(facts.batch // PICTURES_A_GROUP, MOST_GROUPS))
        return {
            "queue": length,
            "momentum": 1 - 1 / max(100, 4 * steps),
            "groups": 2 ** int(math.log2(groups)),  # which divides batches and processes evenly
        }

    @torch.no_grad()
    def look_at(self, batch: Images) -> None:
        """Fill the queue with keys of some pictures: over noise the loss would mean nothing."""
        index = batch.index[:FIRST_KEYS]
        draws = Draws(batch.draws.seed, batch.draws.epoch, index)
        some = Images(batch.images[:FIRST_KEYS], batch.extent[:FIRST_KEYS], index, draws)
        _, views = self.views(some)
        groups = max(1, len(views) // PICTURES_A_GROUP)
        self.queue.fill(in_groups(self.key, views, groups), index)

    def hide(self, batch: Images) -> tuple[Tensor, Shuffled]:
        """Make two views of every picture, and shuffle those for keys.

        Returns:
            Views (2B, C, S, S), queries first; symmetric (4B, C, S, S), queries 2B, then keys of
            the second views and of the first. And whose keys they will be, over all processes.
        """
        first, second = self.views(batch)
        pictures = gathered(batch.index)
        order = self._order(Draws(batch.draws.seed, batch.draws.epoch, pictures))
        mine = order[own_rows(len(first))]
        queries = [first, second] if self.symmetric else [first]
        keys = [second, first] if self.symmetric else [second]
        views = torch.cat([*queries, *(gathered(each)[mine] for each in keys)])
        return views, Shuffled(pictures, order)

    def _order(self, draws: Draws) -> Tensor:
        """Shuffle the order of all processes' pictures, if there are several groups."""
        if self.has_statistics and max(self.groups, processes()) > 1:
            return draws.order("moco/shuffle")
        return torch.arange(len(draws.index), device=draws.index.device)

    def predict(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Encode queries and keys, half of the views each: -> (V B, width) twice, of length 1."""
        queries, keys = views.chunk(2)
        groups = max(1, self.groups // processes()) * (2 if self.symmetric else 1)
        groups = min(groups, len(queries))
        directions = self.head(in_groups(self.encoder, queries, groups))
        return of_length_1(directions), in_groups(self.key, keys, groups)

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed where views are compared: (N, C, S, S) in [0, 1] -> (N, width) of length 1."""
        return of_length_1(self.head(self.encoder(pictures)))

    def score(self, predicted: tuple[Tensor, Tensor], shuffled: Shuffled) -> Score:
        """Look for the key of each query among the queue.

        Args:
            predicted: Queries and shuffled keys, (V B, width) of length 1; V is 2 if symmetric.
            shuffled: The pictures that the keys belong to.

        Returns:
            InfoNCE in nats, and the share of queries whose own key is more similar than all keys of
            the queue, in [0, 1].
        """
        queries, keys = predicted
        pictures, order = shuffled
        directions = 2 if self.symmetric else 1
        mine = own_rows(len(queries) // directions)
        joint = self._in_order(keys, order, directions)  # (V, P B, width)
        self._pushed = joint.flatten(0, 1), pictures.repeat(directions)
        own_keys = pictures[mine].repeat(directions)[:, None] == self.queue.owners
        with torch.autocast(queries.device.type, enabled=False):
            queries = queries / self.temperature
            alike = (queries * joint[:, mine].flatten(0, 1)).sum(dim=1)
            others = (queries @ self.queue.keys.T).masked_fill(own_keys, NOT_COMPARED)  # (V B, K)
            # -log(e^a / (e^a + sum e^o)) = log(1 + e^(logsumexp o - a)), without joining a and o.
            loss = F.softplus(others.logsumexp(dim=1) - alike).mean()
        accuracy = (alike > others.amax(dim=1)).float().mean()
        return Score(loss, {"accuracy": accuracy})

    def _in_order(self, keys: Tensor, order: Tensor, directions: int) -> Tensor:
        """Join all processes' keys in the pictures' order: (V B, width) -> (V, P B, width)."""
        joint = gathered(keys.detach())  # of each process all directions in turn
        joint = joint.unflatten(0, (-1, directions, len(keys) // directions)).transpose(0, 1)
        return joint.flatten(1, 2)[:, order.argsort()]

    def before_step(self, step: int, steps: int) -> None:
        """Note whether the step is one in which the target's movement is measured."""
        self.drift.begin(step)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Let the keys' encoder follow, and queue the keys of the step."""
        if self._pushed is not None:
            self.key.follow(self.encoder, self.head, self.momentum)
            self.queue.push(*self._pushed)
            self._pushed = None
            share_statistics(self.encoder, self.key)
        return self.drift.moved(self.key, self.key)

    def notes(self) -> tuple[str, ...]:
        """Say what the queue holds, and how batch statistics are parted."""
        kept = self.queue.keys.numel() * 4 / 1e6
        held = f"the queue holds {len(self.queue):,} keys, {kept:.1f} MB"
        groups = max(self.groups, processes())
        if groups == 1 or not self.has_statistics:
            return (held,)
        return (held, f"batch statistics are of {groups} groups a batch")

    def targets(self) -> dict[str, Tensor]:
        """Give the weights of the keys' encoder, and the queue."""
        return {**dict(self.key.named_parameters(prefix="key")), "queue": self.queue.keys}

    def encoders(self) -> dict[str, Encoder]:
        """Give the queries' encoder, which is trained, and the keys', which follows it."""
        return {"query": self.encoder, "key": cast(Encoder, self.key.encoder)}

    def forward(self, batch: Images) -> Score:
        views, shuffled = self.hide(batch)
        score = self.score(self.predict(views), shuffled)
        self.drift.keep(views[len(views) // 2 :], self.key, self.key)
        return score


def _check(momentum: float, temperature: float, groups: int) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")

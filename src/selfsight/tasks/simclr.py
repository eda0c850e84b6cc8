"""SimCLR: make two views of every picture, then ask which belong together.

Hidden:     which of all the views in the batch is of the same picture.
Predicted:  a direction for every view, by a small head on the encoder's pooled features.
Scored:     cross-entropy of the partner among K other views; a blind guess costs log(1 + K) nats.

Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020, https://arxiv.org/abs/2002.05709, sections 2 and 4.

The loss, NT-Xent, compares cosines over a temperature, with each view as an anchor once. Cues that
identify a picture without its content must be removed: crops of one picture share their colours, so
colours are changed. Several processes compare with the views of all of them.

We depart from the paper in sizes: batches of some hundred pictures, changes of colour half as
strong below 64 px (its appendix B.9), and no blur there.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation
from selfsight.augment.color import ColorJitter
from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import gathered, own_rows
from selfsight.draws import Draws
from selfsight.errors import UsageError
from selfsight.layers.drift import Drift
from selfsight.layers.heads import Head, HeadKind, of_length_1
from selfsight.tasks.base import Facts, Needs, Score
from selfsight.tasks.two_views import TwoViews

PHOTOGRAPHS_FROM = 64  # pixels a side: below, colours are changed half as strongly


class Partners(NamedTuple):
    """Which views belong together, among the views of all processes.

    Attributes:
        itself: (2B,) int64, the row of each view of this process.
        partner: (2B,) int64, the row of the other view of its picture.
        turn: (M,) int64 for all M views, the place of their picture in a random order of pictures.
    """

    itself: Tensor
    partner: Tensor
    turn: Tensor


class SimCLR(TwoViews):
    """Find the other view of the same picture.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the views, in pixels.
        temperature: Divides cosines, above 0. The paper has 0.5 for CIFAR-10; in one short training
            on it, 0.2 found more partners and taught no less.
        negatives: Number of other pictures' views that an anchor is compared with, an even number,
            at least 2, since both views of a picture are used. Derived: all, 2 batch - 2.
        head: "none", "linear" or "mlp".
        width: Width of the head's output, at least 1.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1]. The paper's
            0.08 is for photographs; short trainings on CIFAR-10 learned no less with 0.2.
        strength: How strongly colours change, from 0 to 1, as for photographs. Derived: 0.5 below
            64 px.
        without: What is left out of the augmentation: a comma list of crop, flip, jitter, grey,
            blur.
    """

    needs = Needs(batch=Images, wanted_batch=128)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        temperature: float = 0.2,
        negatives: int | None = None,
        head: HeadKind = "mlp",
        width: int = 128,
        least_scale: float = 0.2,
        strength: float | None = None,
        without: str = "",
    ) -> None:
        _check(temperature, negatives, strength)
        colors = ColorJitter.of_strength(_strength(size) if strength is None else strength)
        super().__init__(
            encoder,
            size=size,
            augmentation=Augmentation(colors=colors),
            least_scale=least_scale,
            without=without,
        )
        self.head = Head(dim, width, head, normalised=True)
        self.temperature, self.negatives = temperature, negatives
        self.blind = None if negatives is None else math.log(1 + negatives)
        self.chance = None if negatives is None else 1 / (1 + negatives)
        self.drift = Drift()

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Compare with all of the batch, and change small pictures' colours less.

        Raises:
            UsageError: If the batch does not hold as many others as were asked for.
        """
        most = 2 * facts.batch - 2
        if most < 2:
            raise UsageError(f"simclr needs a --batch of 2 pictures or more, got {facts.batch}")
        if (facts.chosen.get("negatives") or 0) > most:
            raise UsageError(
                f"negatives of simclr must be at most {most}, two views of each other picture of a "
                f"batch of {facts.batch}, got {facts.chosen['negatives']}; give a larger --batch"
            )
        return {"negatives": most, "strength": _strength(facts.side)}

    def hide(self, batch: Images) -> tuple[Tensor, Partners]:
        """Make two views of every picture: -> views (2B, C, S, S), which belong together."""
        views = torch.cat(self.views(batch))
        mine, rows = own_rows(len(views)), torch.arange(len(views), device=views.device)
        partner = rows.roll(len(views) // 2) + mine.start
        return views, Partners(rows + mine.start, partner, _turns(batch))

    def predict(self, views: Tensor) -> Tensor:
        """Give every view a direction: (2B, C, S, S) -> (2B, width) of length 1."""
        return self.embed(views)

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed where views are compared: (N, C, S, S) in [0, 1] -> (N, width) of length 1."""
        return of_length_1(self.head(self.encoder(pictures)))

    def score(self, directions: Tensor, partners: Partners) -> Score:
        """Look for the partner of each view among all views but itself.

        Args:
            directions: (2B, width) of length 1.
            partners: Which views belong together.

        Returns:
            NT-Xent in nats, and the share of anchors whose partner is the most similar, in [0, 1].
        """
        with torch.autocast(directions.device.type, enabled=False):
            logits = directions @ gathered(directions).T / self.temperature  # (2B, M)
        logits = logits.masked_fill(self._not_compared(partners), -math.inf)
        accuracy = (logits.argmax(dim=1) == partners.partner).float().mean()
        return Score(F.cross_entropy(logits, partners.partner), {"accuracy": accuracy})

    def _not_compared(self, partners: Partners) -> Tensor:
        """Tell which views an anchor is not compared with: -> (2B, M) bool.

        Itself; and of other pictures all but the K / 2 that come first, the anchor's own not
        counted. So anchors share their negatives, and the order of the batch does not matter.
        """
        itself, partner, turn = partners
        skipped = torch.zeros(len(itself), len(turn), dtype=torch.bool, device=turn.device)
        if self.negatives is not None and self.negatives < len(turn) - 2:
            own_turn = turn[itself][:, None]
            place = turn - (turn > own_turn).long()  # among the others
            skipped = (place >= self.negatives // 2).scatter(1, partner[:, None], False)
        return skipped.scatter(1, itself[:, None], True)

    def before_step(self, step: int, steps: int) -> None:
        """Note whether the step is one in which the target's movement is measured."""
        self.drift.begin(step)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Tell how far the step has moved the views' directions, every now and then."""
        return self.drift.moved(self.embed, self)

    def forward(self, batch: Images) -> Score:
        views, partners = self.hide(batch)
        score = self.score(self.predict(views), partners)
        self.drift.keep(views, self.embed, self)
        return score


def _turns(batch: Images) -> Tensor:
    """Order all processes' pictures by their draws: -> for all 2B views of each, (M,) int64."""
    index = gathered(batch.index)
    order = Draws(batch.draws.seed, batch.draws.epoch, index).order("simclr/negatives")
    turn = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return turn.view(-1, 1, len(batch.index)).expand(-1, 2, -1).flatten()


def _strength(side: int) -> float:
    return 0.5 if side < PHOTOGRAPHS_FROM else 1.0


def _check(temperature: float, negatives: int | None, strength: float | None) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if negatives is not None and (negatives < 2 or negatives % 2):
        raise ValueError(
            f"negatives must be an even number from 2 on, two views a picture, got {negatives}"
        )
    if strength is not None and not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}")

"""Instance discrimination: every picture is a class of its own, and a memory stands for each.

Hidden:     which of all pictures this one is, behind a crop and other colours.
Predicted:  a vector of length 1, to be nearer to the picture's entry in a memory bank than to those
            of other pictures.
Scored:     cross-entropy of the own entry among it and m others; a blind guess costs log(1 + m)
            nats, or log(1 + m) + m log(1 + 1 / m) where each is scored alone (noise contrast).

Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR
2018, https://arxiv.org/abs/1805.01978, section 3.

The bank holds the last embedding of every picture, and is updated after each step. It grows with
the data, as does the comparison with all of it: B N W multiplications for a step of B pictures. So
in larger data a picture is compared with some entries, which are drawn in every step. The paper
then scores by noise contrast; the softmax over the drawn entries, which its authors' code uses
later, taught more here in short trainings.

We depart from the paper: the bank begins with the untrained network's embeddings and not with
random vectors, since short trainings cannot spend an epoch on overwriting these; a picture's own
entry is never among the noise; and the proximal term, which keeps embeddings near their entries, is
off.
"""

import math
from typing import Any, NamedTuple

from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.augment.color import ColorJitter
from selfsight.augment.views import centre_view
from selfsight.data.pictures.batch import Images
from selfsight.distributed.calibration import calibrate
from selfsight.layers.heads import Head, HeadKind, of_length_1
from selfsight.layers.memory_bank import MemoryBank, samples_of
from selfsight.layers.noise_contrast import NoiseContrast, Objective, usual_negatives
from selfsight.tasks.base import Epoch, Facts, Needs, Score
from selfsight.tasks.two_views import TwoViews

DRAWN = 4096  # negatives, where not all are compared with
CALIBRATING = 128  # pictures
# Of the paper's code for CIFAR-10, and flips.
AUGMENTATION = Augmentation(colors=ColorJitter(0.4, 0.4, 0.4, 0.4, share=1.0, grey=0.2), blur=0.0)
ANOTHER_EPOCH = ("view", "other")  # names of the two views that two epochs show of a picture


class Asked(NamedTuple):
    """What a batch has to be compared with.

    Attributes:
        places: (B,) int64, each picture's place in the data.
        noise: (m,) int64, the entries of others to compare with; None for all.
    """

    places: Tensor
    noise: Tensor | None


class InstanceDiscrimination(TwoViews):
    """Tell each picture from all others by a memory bank of embeddings.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crops, in pixels.
        samples: How many pictures there are, N, at least 2; None takes the data's.
        objective: "softmax" over the entries compared with, or "nce", noise contrast.
        negatives: Number of other pictures' entries that each is compared with, m, at least 1. None
            is all of them, N - 1, up to 8,192 pictures, and 4,096 drawn ones beyond.
        temperature: Divides cosines, above 0.
        head: "none", "linear" as in the paper, or "mlp".
        width: Width W of the vectors that are compared, at least 1.
        momentum: Share of an entry that stays when its picture is seen again, from 0 to below 1.
        proximal: Weight of the squared distance between a vector and its entry, at least 0.
        filled: Whether the bank begins with the untrained network's embeddings, which takes one
            pass over the pictures. The paper's begins with random vectors.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        without: What is left out of the augmentation: a comma list of crop, flip, jitter, grey.
    """

    needs = Needs(batch=Images)
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
        momentum: float = 0.5,
        proximal: float = 0.0,
        filled: bool = True,
        least_scale: float = 0.2,
        without: str = "",
    ) -> None:
        super().__init__(
            encoder, size=size, augmentation=AUGMENTATION, least_scale=least_scale, without=without
        )
        if samples is None or samples < 2:
            raise ValueError(f"samples must be at least 2, as many as the data has, got {samples}")
        if not 0 <= proximal < math.inf:
            raise ValueError(f"proximal must be at least 0 and finite, got {proximal}")
        self.proximal = proximal
        self.head = Head(dim, width, head)
        self.bank = MemoryBank(samples, self.head.width, momentum)
        self.contrast = NoiseContrast(
            samples,
            objective=objective,
            negatives=usual_negatives(samples, DRAWN) if negatives is None else negatives,
            temperature=temperature,
        )
        self.contrast.estimate(self.bank)
        self.filled = filled
        self.blind, self.chance = self.contrast.blind, self.contrast.chance
        self.last: tuple[Tensor, Tensor] | None = None  # places and vectors of the last step

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Take the number of pictures from the data, and the negatives from it."""
        samples = samples_of(facts, "instance-discrimination")
        return {"samples": samples, "negatives": usual_negatives(samples, DRAWN)}

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
        """Make a view of every picture: -> views (B, C, S, S), what to compare them with."""
        views = augmented(batch, self.size, self.augmentation)
        return views, Asked(batch.index, self.contrast.draw(batch))

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed pictures: (B, C, S, S) -> (B, W), length 1."""
        return of_length_1(self.head(self.encoder(pictures)))

    def predict(self, views: Tensor) -> Tensor:
        """Embed each view: (B, C, S, S) -> (B, W), length 1."""
        return self.embed(views)

    def score(self, embedded: Tensor, asked: Asked) -> Score:
        """Compare with the bank; loss in nats, accuracy in [0, 1]: share nearest to their own."""
        self.last = (asked.places, embedded.detach())
        contrasted = self.contrast(embedded, asked.places, asked.noise, self.bank)
        loss = contrasted.losses.mean()
        if self.proximal:
            apart = (embedded - self.bank(asked.places)).square().sum(dim=1)
            loss = loss + self.proximal * apart.mean()
        return Score(loss, {"accuracy": contrasted.found.mean()})

    def forward(self, batch: Images) -> Score:
        views, asked = self.hide(batch)
        return self.score(self.predict(views), asked)

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

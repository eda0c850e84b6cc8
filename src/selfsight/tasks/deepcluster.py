"""DeepCluster: sort pictures by their features, then learn to tell what was sorted apart.

Hidden:     the cluster k of each picture, found by k-means on the encoder's features of all.
Predicted:  k, by one linear layer on the pooled features of a random crop.
Scored:     cross-entropy, rare clusters weighing more; a blind guess costs the entropy of the
            clusters' shares as they weigh, near log K nats for K clusters that count alike.

Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features",
ECCV 2018, https://arxiv.org/abs/1807.05520, section 3.

Before an epoch all pictures are encoded, and their features are whitened, scaled to length 1 and
clustered. The numbers of new clusters have new meanings, so each clustering gets a new head. Two
trivial solutions are prevented. Empty clusters are filled by splitting large ones
(`layers/kmeans.py`). And if nearly all pictures were in one cluster, one answer would be right for
nearly all, so all clusters have the same weight, whatever their size. The paper samples pictures
evenly over clusters, and says that this equals weighting each picture's loss by the inverse of its
cluster's size, which is done here; but clusters below a quarter of the mean size are weighted as if
they had that size, since otherwise a single picture could outweigh the rest of its batch.

We depart from the paper in sizes: a cluster for every 128 pictures, as there, but at least ten, and
fewer directions of narrower features, since the directions of least variance are mostly noise. On
CIFAR-10, clusters in half of the 128 directions agreed better with classes than in all of them. The
network's input has colours, which change from crop to crop; the paper's Sobel filters are a
setting. The clusters do not change in the last tenth of a run, since rates end near 0 here.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.augment.color import ColorJitter
from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import gathered
from selfsight.draws import Draws
from selfsight.encoders import Feed, fed
from selfsight.layers.entropy import entropy
from selfsight.layers.kmeans import kmeans, mutual_information
from selfsight.layers.memory_bank import samples_of
from selfsight.layers.whitening import Whitening
from selfsight.system import machine
from selfsight.tasks.base import Epoch, Facts, Needs, Score
from selfsight.tasks.cropping import Cropping

PICTURES_A_CLUSTER = 128  # the paper's 1.28 million pictures in 10,000 clusters
FEWEST_CLUSTERS = 10  # where there are four times as many pictures
STEPS_BETWEEN = 100  # clusterings, at least: a new head must learn before the next one comes
LAST_SHARE = 0.1  # of a run, in which clusters stay: the rate is below a fortieth of its peak
MOST_DIRECTIONS = 256  # of the features, kept by whitening, as in the paper
PICTURES_A_DIRECTION = 16  # at least: a variance that few pictures tell is whitened to noise
DEVIATION = 0.01  # of a new head's weights
NEWS = ("largest", "nmi")  # of a clustering
LEAST_SHARE = 1 / 4  # of the mean cluster's size, below which a cluster counts as one of that size


class DeepCluster(Cropping):
    """Predict in which cluster a picture was.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crops, in pixels.
        samples: How many pictures there are, N, at least 2; None takes the data's.
        clusters: How many clusters K, from 2 to N. Derived: N / 128 and at least 10, but at most
            N / 4.
        every: Epochs from one clustering to the next, at least 1. Derived: enough for a head to
            have at least 100 steps.
        balanced: Whether all clusters have the same weight, whatever their size.
        sobel: Whether the network's input is gradients of grey instead of colours, for good.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        strength: How strongly colours change, from 0, as in the paper, to 1, for photographs. On
            CIFAR-10 0.5 taught as much in two thirds of the steps.
    """

    needs = Needs(batch=Images)
    assignments: Tensor
    weights: Tensor
    clustered: Tensor
    ending: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        samples: int | None = None,
        clusters: int | None = None,
        every: int | None = None,
        balanced: bool = True,
        sobel: bool = False,
        least_scale: float = 0.2,
        strength: float = 0.5,
    ) -> None:
        if samples is None or samples < 2:
            raise ValueError(f"samples must be at least 2, as many as the data has, got {samples}")
        clusters = _usual_clusters(samples) if clusters is None else clusters
        every = 1 if every is None else every
        _check(samples, clusters, every, strength)
        feed = Feed("sobel" if sobel else "all")
        super().__init__(fed(encoder, feed), size=size, least_scale=least_scale)
        self.head = nn.Linear(dim, clusters)
        nn.init.normal_(self.head.weight, std=DEVIATION)
        nn.init.zeros_(self.head.bias)
        self.epochs_between, self.balanced = every, balanced
        self.directions = _directions(dim, samples)
        self.augmentation = Augmentation(
            scale=(least_scale, 1.0), colors=_colors(strength), blur=0.0
        )
        # Before the first clustering, pictures are assigned to clusters in turn.
        self.register_buffer("assignments", torch.arange(samples) % clusters)
        self.register_buffer("weights", torch.ones(clusters))
        self.register_buffer("clustered", torch.tensor(False))
        self.register_buffer("ending", torch.tensor(False))
        self.news: dict[str, Tensor] = {}  # of the last clustering, until this task's next step
        self.register_load_state_dict_pre_hook(_of_an_older_run)

    def get_extra_state(self) -> Tensor:
        """Give the metrics not reported yet, in the order of `NEWS`: (2,), -1 for none."""
        return torch.tensor([float(self.news.get(name, -1)) for name in NEWS])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the metrics not reported yet: a task that takes turns reports in its own turn."""
        told = zip(NEWS, state, strict=True)
        self.news = {name: value for name, value in told if value != -1}

    @property
    def blind(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] -- it follows the clusters
        """Cost of the best blind guess, in nats, which knows the weight of each cluster."""
        return entropy(self.weights * self._sizes())

    @property
    def chance(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] -- it follows the clusters
        """Accuracy of always naming the largest cluster, in (0, 1]."""
        return float(self._sizes().max()) / len(self.assignments)

    def _sizes(self) -> Tensor:
        """Count the pictures of each cluster: -> (K,)."""
        return self.assignments.bincount(minlength=len(self.weights))

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Take the number of pictures from the data, and from it and the batch all others."""
        samples = samples_of(facts, "deepcluster")
        steps = max(1, samples // facts.batch)
        return {
            "samples": samples,
            "clusters": _usual_clusters(samples),
            "every": math.ceil(STEPS_BETWEEN / steps),
        }

    def notes(self) -> tuple[str, ...]:
        """Describe the cost of a clustering, which grows with the data."""
        count = len(self.assignments)
        often = "every epoch" if self.epochs_between == 1 else f"every {self.epochs_between} epochs"
        kept = machine.size_in_words(4 * count * (self.head.in_features + self.directions))
        return (
            f"{often} all {count:,} pictures are encoded and sorted into {len(self.weights):,} "
            f"clusters in {self.directions} directions; their features take {kept}",
        )

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Cluster all pictures by their features, if it is time to, and begin a new head.

        Near the end of a run, at a low rate, a new head could not learn any more.

        Returns:
            The head's parameters, or nothing if the clusters stay.
        """
        if epoch.number % self.epochs_between or (self.clustered and self.ending):
            return []
        found = self._sorted(epoch)
        self.news = {"largest": found.bincount().max() / len(found)}
        if self.clustered:
            self.news["nmi"] = mutual_information(self.assignments, found)
        self.assignments.copy_(found)
        self.clustered.fill_(True)
        if self.balanced:
            self.weights.copy_(cluster_weights(found.bincount(minlength=len(self.weights))))
        self._begin_head(epoch)
        return list(self.head.parameters())

    def _sorted(self, epoch: Epoch) -> Tensor:
        """Group all pictures: -> (N,) int64, the same in all processes."""
        features = epoch.features_of(self.encoder)  # (N, D)
        white = Whitening.of(features, most=self.directions).apply(features)
        unit, clusters = F.normalize(white, dim=1), len(self.weights)
        found = kmeans(unit, clusters, seed=epoch.seed, epoch=epoch.number).assignments
        # Processes of unlike machines may round otherwise; what the first one found counts.
        return gathered(found)[: len(found)]

    @torch.no_grad()
    def _begin_head(self, epoch: Epoch) -> None:
        """Draw a new head, the same in all processes, from the run's seed and the epoch alone."""
        clusters = torch.arange(len(self.weights), device=self.weights.device)
        draws = Draws(epoch.seed, epoch.number, clusters)
        self.head.weight.copy_(DEVIATION * draws.normal("deepcluster/head", self.head.in_features))
        self.head.bias.zero_()

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Note whether the run is about to end, and report the clustering before this step, if any.

        Returns:
            `nmi`, mutual information with the last clusters, normalised, in [0, 1], from the second
            clustering on; `largest`, the largest cluster's share of the pictures.
        """
        self.ending.fill_(steps - step - 1 < max(STEPS_BETWEEN, LAST_SHARE * steps))
        news, self.news = self.news, {}
        return news

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Crop and flip, and look up the clusters: -> crops (B, C, S, S), clusters (B,)."""
        return augmented(batch, self.size, self.augmentation), self.assignments[batch.index]

    def predict(self, crops: Tensor) -> Tensor:
        """Guess the cluster: (B, C, S, S) -> logits (B, K)."""
        return self.head(self.encoder(crops))

    def clusters_of(self, pictures: Tensor) -> Tensor:
        """Predict clusters of pictures (B, C, S, S) in [0, 1] by the head: -> (B,) int64."""
        return self.predict(pictures).argmax(dim=1)

    def score(self, logits: Tensor, clusters: Tensor) -> Score:
        """Compare the guesses with the clusters.

        Weights are 1 on the average of all pictures and not of each batch, so that several
        processes give the loss of one.

        Returns:
            Loss in nats, and unweighted accuracy in [0, 1].
        """
        costs = F.cross_entropy(logits.float(), clusters, reduction="none")
        accuracy = (logits.argmax(dim=1) == clusters).float().mean()
        return Score((self.weights[clusters] * costs).mean(), {"accuracy": accuracy})

    def forward(self, batch: Images) -> Score:
        crops, clusters = self.hide(batch)
        return self.score(self.predict(crops), clusters)


def _of_an_older_run(task: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load states saved before reports were part of them, as if all had been reported."""
    state.setdefault(f"{prefix}_extra_state", torch.full((len(NEWS),), -1.0))


def cluster_weights(sizes: Tensor) -> Tensor:
    """Weight the pictures of each cluster by the inverse of its size.

    With N pictures in K' clusters that have any, a picture of a cluster of n weighs N / (K' n),
    where n counts as N / (4 K') if it is less. Then all are scaled so that the N weigh 1 on the
    average.

    Args:
        sizes: (K,) int64, pictures of each cluster.

    Returns:
        (K,) float32.
    """
    mean = sizes.sum() / (sizes > 0).sum()
    weights = mean / sizes.clamp(min=1).maximum(LEAST_SHARE * mean)
    return weights * sizes.sum() / (weights * sizes).sum()


def _usual_clusters(samples: int) -> int:
    """Choose the number of clusters from that of the pictures.

    >>> [_usual_clusters(samples) for samples in (8, 300, 50_000, 1_281_167)]
    [2, 10, 391, 10009]
    """
    wanted = max(FEWEST_CLUSTERS, round(samples / PICTURES_A_CLUSTER))
    return max(2, min(wanted, samples // 4))


def _directions(dim: int, samples: int) -> int:
    """Choose how many directions of the features to keep: at most half, at least two.

    With a single direction, rows of length 1 would keep only its sign.
    """
    return min(dim, max(2, min(MOST_DIRECTIONS, dim // 2, samples // PICTURES_A_DIRECTION)))


def _colors(strength: float) -> ColorJitter:
    """Choose the colour jitter; with strength 0 no colour changes, and none becomes grey."""
    return ColorJitter.of_strength(strength) if strength else ColorJitter.only_grey(0.0)


def _check(samples: int, clusters: int, every: int, strength: float) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if not 2 <= clusters <= samples:
        raise ValueError(f"clusters must be from 2 to the {samples} pictures, got {clusters}")
    if every < 1:
        raise ValueError(f"every must be at least 1 epoch, got {every}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}")

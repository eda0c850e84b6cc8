"""Linear probe: can a linear map tell the classes from the features of a layer?

Frozen:    the encoder; only its features are used here.
Fitted:    one linear map from standardised features to classes, by ridge regression.
Measured:  top-1 accuracy in [0, 1]; chance is the largest class's share.

Alain, Bengio, "Understanding intermediate layers using linear classifier probes", ICLR workshop
2017, https://arxiv.org/abs/1610.01644; probing each layer follows Zhang, Isola, Efros, "Colorful
Image Colorization", ECCV 2016, https://arxiv.org/abs/1603.08511, section 3.2. Both train a softmax
by gradient descent; we use regression onto the classes in closed form, which has no learning rate
and no number of steps to choose.

The algebra. Let the n fitting rows be x_i, with one-hot classes y_i. Write m for their mean, D for
the diagonal of 1 / standard deviation (0 for a feature that is constant: it then takes no part),
z_i = D (x_i - m) for the standardised row and q for the classes' shares, the mean of the y_i.
The map W (F, K) minimises, with the strength s,

    (1/n) sum |W' z_i - (y_i - q)|^2 + s |W|^2   so that   (R + s I) W = C,
    R = (1/n) sum z_i z_i' = D G D / n,    G = sum (x_i - m)(x_i - m)'  (F, F),
    C = (1/n) sum z_i (y_i - q)' = D B / n,    B = sum (x_i - m)(y_i - q)'  (F, K).

R + s I is symmetric and positive definite, so each strength costs one Cholesky factorisation. The
answer for x is the largest entry of W' D (x - m) + q. Entries sum to 1, for those of q do and rows
of C sum to 0; so a class never seen, whose column is 0, is never the largest.

G and B need only one pass over the rows. With any fixed shift c near the mean, u_i = x_i - c, and
the folded sums S = sum u_i, A = sum u_i u_i', T = sum u_i y_i', k = sum y_i, it holds that

    m = c + S/n,    G = A - S S'/n,    B = T - S k'/n.

With c = 0, a feature of mean 1000 and deviation 0.01 would lose all its digits in the subtraction
A - S S'/n; c is therefore the mean of the first rows.

Moments can be added: those of the rows held out, added to the others, give the final fit on all
rows.

With fewer rows than features the same W comes from an n x n system. Let Z (n, F) hold the z_i and
Y (n, K) the y_i - q, so that R = Z'Z / n and C = Z'Y / n. From (Z'Z/n + s I) Z' = Z' (ZZ'/n + s I)
follows

    W = Z' a / n   where   (Z Z' / n + s I) a = Y.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsight.probes.features import Labelled
from selfsight.probes.sampling import HELD_OUT_MOST

STRENGTHS = tuple(1e-3 * 8.0**power for power in range(6))  # of the features' variance, 1
STRIPES = 4  # a symmetric product is made in so many stripes, each up to the diagonal only
ROWS_AT_ONCE = 2048  # rows wait until so many fold in together: adding F x F numbers costs too
CONSTANT = 1e-6  # a deviation below this share of the feature's size is rounding, not signal


class Moments:
    """The sums S, A, T and k of the derivation, in float64, and the shift c they are taken about.

    Args:
        shift: (F,) a point near the rows' mean.
        classes: Number of classes K.
    """

    def __init__(self, shift: Tensor, classes: int) -> None:
        features, device = len(shift), shift.device
        self.count = 0
        self.shift = shift
        self.sum = torch.zeros(features, dtype=torch.float64, device=device)
        self.by_class = torch.zeros(classes, dtype=torch.float64, device=device)
        self.cross = torch.zeros(features, classes, dtype=torch.float64, device=device)
        # Filled up to the diagonal stripes' ends only: the rest follows by symmetry.
        self.gram = torch.zeros(features, features, dtype=torch.float64, device=device)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Fold in rows x (B, F) with class numbers y (B,)."""
        shifted = x - self.shift  # (B, F)
        chosen = torch.zeros(len(x), len(self.by_class), device=x.device)
        chosen.scatter_(1, y[:, None], 1.0)  # (B, K)
        self.count += len(x)
        self.sum += shifted.sum(dim=0, dtype=torch.float64)
        self.by_class += chosen.sum(dim=0, dtype=torch.float64)
        self.cross += shifted.T @ chosen
        for stripe in torch.arange(len(self.sum)).chunk(STRIPES):
            begin, end = int(stripe[0]), int(stripe[-1]) + 1
            self.gram[begin:end, :end] += shifted[:, begin:end].T @ shifted[:, :end]


@dataclass(frozen=True)
class Equations:
    """R W = C on standardised features, and how to standardise.

    Attributes:
        left: R (F, F), right in its lower triangle only.
        right: C (F, K).
        mean: m (F,).
        scale: The diagonal of D (F,), 0 where a feature is constant.
        shares: q (K,), each class's share of the rows.
    """

    left: Tensor
    right: Tensor
    mean: Tensor
    scale: Tensor
    shares: Tensor

    @classmethod
    def of(cls, moments: Moments) -> "Equations":
        """Centre and scale the sums; their loss of digits is bounded by the shift."""
        n = moments.count
        mean = moments.shift + moments.sum / n
        left = torch.addr(moments.gram, moments.sum, moments.sum, alpha=-1 / n).div_(n)
        right = (moments.cross - torch.outer(moments.sum, moments.by_class) / n) / n
        scale = _scale(left.diagonal().clamp(min=0).sqrt(), mean)
        left.mul_(scale).mul_(scale[:, None])
        return cls(left, right * scale[:, None], mean, scale, moments.by_class / n)

    def solve(self, strength: float, *, number: torch.dtype = torch.float64) -> "LinearMap":
        """Find W for one strength above 0, by Cholesky factorisation.

        Single precision takes half the time, enough to compare strengths by; where features are so
        alike that it fails, double precision steps in.
        """
        ridged = self.left.to(number, copy=True)
        ridged.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(ridged)
        if number != torch.float64 and bool(failed):
            return self.solve(strength)
        weight = torch.cholesky_solve(self.right.to(number), factor) * self.scale[:, None]
        return LinearMap(self.mean.float(), weight.float(), self.shares.float())


@dataclass(frozen=True)
class FewRows:
    """The same fit from fewer rows than features: (Z Z' / n + s I) a = Y.

    Attributes:
        rows: Z (n, F), standardised.
        products: Z Z' / n (n, n).
        target: Y (n, K), centred one-hot classes.
        mean: m (F,).
        scale: The diagonal of D (F,), 0 where a feature is constant.
        shares: q (K,), each class's share of the rows.
    """

    rows: Tensor
    products: Tensor
    target: Tensor
    mean: Tensor
    scale: Tensor
    shares: Tensor

    @classmethod
    def of(cls, known: Labelled, classes: int) -> "FewRows":
        """Standardise rows x (n, F) and centre their classes y (n,)."""
        x = known.x.double()
        mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
        scale = _scale(deviation, mean)
        chosen = torch.nn.functional.one_hot(known.y, classes).double()
        shares = chosen.mean(dim=0)
        rows = (x - mean) * scale
        return cls(rows, rows @ rows.T / len(rows), chosen - shares, mean, scale, shares)

    def solve(self, strength: float, *, number: torch.dtype = torch.float64) -> "LinearMap":
        """Find W for one strength above 0; so small a system is solved in float64 throughout."""
        count = len(self.rows)
        ridged = self.products.clone()
        ridged.diagonal().add_(strength)
        answer = torch.cholesky_solve(self.target, torch.linalg.cholesky(ridged))
        weight = self.rows.T @ answer / count * self.scale[:, None]
        return LinearMap(self.mean.float(), weight.float(), self.shares.float())


def _scale(deviation: Tensor, mean: Tensor) -> Tensor:
    """Give 1 / deviation, and 0 where a feature is constant up to rounding."""
    varies = deviation > CONSTANT * mean.abs().clamp(min=CONSTANT)
    return torch.where(varies, 1 / deviation, 0.0)


@dataclass(frozen=True)
class LinearMap:
    """x -> (x - mean) weight + bias, with mean (F,), weight (F, K) and bias (K,)."""

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map features (B, F) to class numbers (B,) int64."""
        return ((x - self.mean) @ self.weight + self.bias).argmax(dim=1)


def _joined(parts: list[Labelled]) -> Labelled:
    """Concatenate batches of rows."""
    return Labelled(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


class LinearProbe:
    """Ridge regression from standardised features to classes, folded as batches come in.

    Args:
        features: Width F of the features.
        classes: Number of classes K.

    Attributes:
        validation: Accuracy in [0, 1] of the chosen strength on the rows held out.
        strength: The chosen strength, relative to the features' variance.
    """

    def __init__(self, features: int, classes: int) -> None:
        self.features = features
        self.classes = classes
        self.validation = 0.0
        self.strength = STRENGTHS[-1]
        self._moments: Moments | None = None
        self._waiting: list[Labelled] = []
        self._waiting_count = 0
        self._held: list[Labelled] = []
        self._held_count = 0
        self._map: LinearMap | None = None

    def add(self, x: Tensor, y: Tensor, held_out: Tensor) -> None:
        """Fold in a batch; only rows held out are kept, at most `HELD_OUT_MOST` (the rest fit).

        Args:
            x: Features (B, F) float32.
            y: Class numbers (B,) int64, 0 to K - 1.
            held_out: (B,) bool, rows to choose the strength by.

        Raises:
            ValueError: If x has another width than F.
        """
        if x.shape[1] != self.features:
            raise ValueError(f"features must be {self.features} wide, got {x.shape[1]}")
        if len(x) == 0:
            return
        held_out = held_out & (held_out.cumsum(0) + self._held_count <= HELD_OUT_MOST)
        self._held.append(Labelled(x[held_out], y[held_out]))
        self._held_count += int(held_out.sum())
        self._waiting.append(Labelled(x[~held_out], y[~held_out]))
        self._waiting_count += len(x) - int(held_out.sum())
        if self._waiting_count >= ROWS_AT_ONCE:
            self._fold()

    def _fold(self) -> None:
        """Fold the waiting rows into the moments."""
        x, y = _joined(self._waiting)
        if self._moments is None:
            shift = x.mean(dim=0, dtype=torch.float64).float()
            self._moments = Moments(shift, self.classes)
        self._moments.add(x, y)
        self._waiting, self._waiting_count = [], 0

    def solve(self) -> None:
        """Choose the strength by the rows held out, the largest of equal ones, then fit on all.

        Raises:
            ValueError: If nothing was held out, or everything was.
        """
        fitting = self._waiting_count + (self._moments.count if self._moments else 0)
        if fitting == 0 or self._held_count == 0:
            seen = self._held_count + fitting
            raise ValueError(
                f"some rows must be held out and some not, got {self._held_count} of {seen}"
            )
        held = _joined(self._held)
        if self._moments is None and fitting + self._held_count < self.features:
            rows = _joined(self._waiting)
            self._choose(FewRows.of(rows, self.classes), held)
            whole = FewRows.of(_joined([rows, held]), self.classes)
        else:
            whole = self._solved_by_moments(held)
        self._map = whole.solve(self.strength)
        self._moments, self._waiting, self._held = None, [], []

    def _solved_by_moments(self, held: Labelled) -> Equations:
        """Choose the strength on the folded rows, then add those held out to them."""
        if self._waiting_count > 0:
            self._fold()
        assert self._moments is not None  # there are rows, and all of them are folded
        self._choose(Equations.of(self._moments), held)
        self._moments.add(*held)
        return Equations.of(self._moments)

    def _choose(self, equations: Equations | FewRows, held: Labelled) -> None:
        """Keep the strength with the best accuracy on the rows held out."""
        for strength in STRENGTHS:
            candidate = equations.solve(strength, number=torch.float32)
            accuracy = float((candidate(held.x) == held.y).float().mean())
            if accuracy >= self.validation:
                self.validation, self.strength = accuracy, strength

    def predict(self, x: Tensor) -> Tensor:
        """Answer features (B, F) with class numbers (B,) int64.

        Raises:
            ValueError: If the probe is not solved yet.
        """
        if self._map is None:
            raise ValueError("a probe answers only once solved; call solve() first")
        return self._map(x)

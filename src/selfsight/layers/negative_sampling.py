"""Negative sampling: words and their neighbours told from words drawn at random, in large steps.

What word2vec does one pair after another is done here for a whole batch of passages at once, as
products of matrices. Three things of its program are kept: frequent words are left out at random
before windows are laid, each word's window has a radius drawn evenly from 1 to `window`, and noise
is drawn by counts to the power 3/4, and is no noise where it is the word in question. One is
changed for speed: the words of a block, `BLOCK` in a row, share their noise. Each word meets
`SHARED` noise words weighted `negatives` / `SHARED`, so that the loss is the same in expectation.

Let a block have C words x_1 ... x_C, around which lie C + 2w words y. All products x_i . y_j are
one product of matrices, of which a band belongs to windows:

          y1 y2 y3 y4 y5 y6        w = 1, C = 4: x_i stands at y_(i+1)
    x1  [ #  .  #           ]      # in the window of x_i
    x2  [    #  .  #        ]      . x_i itself
    x3  [       #  .  #     ]
    x4  [          #  .  #  ]

A drawn radius less than w, the end of a passage, and words left out narrow the band.

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed Representations of Words and Phrases and their
Compositionality", NIPS 2013, https://arxiv.org/abs/1310.4546, sections 2.2 and 2.3; where it and
its program differ, as in how often a frequent word is left out, this follows the program,
https://github.com/tmikolov/word2vec.

Legend: B passages, T words of a passage, N blocks of the batch, C words of a block, W words around
it, K noise words of a block, V words of the vocabulary, D numbers of a vector.
"""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.words.batch import Words
from selfsight.distributed.gather import processes, summed

BLOCK = 32  # words that share their noise
SHARED = 24  # noise words of a block
LEAST_CHANCE = 1e-30  # of a right answer: that of a logit of -69
POWER = 0.75  # of counts, by which noise is drawn
MOST_WINDOW, MOST_NEGATIVES = 50, 100


class Blocks(NamedTuple):
    """Words of a batch, block by block.

    Attributes:
        words: (N, C) int64 the words.
        around: (N, W) int64 the words around and within each block.
        band: (N, C, W) bool, which of these are in each word's window.
        noise: (N, K) int64 the noise words.
    """

    words: Tensor
    around: Tensor
    band: Tensor
    noise: Tensor


def kept_share(counts: Tensor, subsample: float) -> Tensor:
    """Tell how often a word is left in, given how often words occur: (V,) -> (V,) float in (0, 1].

    A word that is the share f of the text is left in with the chance (sqrt(f / t) + 1) t / f, where
    t is `subsample`; 0 leaves all in.
    """
    if not subsample:
        return torch.ones(len(counts), device=counts.device)
    share = counts.double() / counts.sum() / subsample
    return ((share.sqrt() + 1) / share).clamp(max=1).float()


def noise_shares(counts: Tensor) -> Tensor:
    """Tell how often each word is drawn as noise: counts (V,) -> (V,) float64, of sum 1."""
    weights = counts.double() ** POWER
    return weights / weights.sum()


def blocks_of(batch: Words, counts: Tensor, *, window: int, subsample: float) -> Blocks:
    """Leave frequent words out, lay windows, draw noise, all by the draws of each passage.

    Args:
        batch: The passages.
        counts: (V,) how often each word occurs.
        window: Largest radius of a window.
        subsample: See `kept_share`.
    """
    words, present, radius = _thinned(batch, counts, window, subsample)
    count, length = words.shape
    blocks = length // BLOCK
    width = BLOCK + 2 * window
    around = F.pad(words, (window, window)).unfold(1, width, BLOCK).reshape(-1, width)
    there = F.pad(present, (window, window)).unfold(1, width, BLOCK).reshape(-1, 1, width)
    away = torch.arange(width, device=words.device) - window
    away = (away - torch.arange(BLOCK, device=words.device)[:, None]).abs()  # (C, W)
    radius = torch.where(present, radius, 0).reshape(-1, BLOCK, 1)  # nothing is around what is not
    band = (away <= radius) & (away > 0) & there
    bounds = noise_shares(counts).cumsum(0).float()
    drawn = batch.draws.uniform("noise", blocks * SHARED).reshape(count * blocks, SHARED)
    noise = torch.searchsorted(bounds, drawn, right=True).clamp(max=len(counts) - 1)
    return Blocks(words.reshape(-1, BLOCK), around, band, noise)


def _thinned(
    batch: Words, counts: Tensor, window: int, subsample: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Leave frequent words out, and let the others close up.

    Returns:
        Words (B, L), L a multiple of `BLOCK`; which are there (B, L) bool; their radii (B, L).
    """
    tokens, most = batch.tokens, batch.tokens.shape[1]
    inside = torch.arange(most, device=tokens.device) < batch.extent[:, None]
    kept = inside & (batch.draws.uniform("kept", most) < kept_share(counts, subsample)[tokens])
    radius = 1 + (batch.draws.uniform("radius", most) * window).long()
    left = kept.sum(dim=1)
    length = max(1, math.ceil(int(left.max()) / BLOCK)) * BLOCK
    present = torch.arange(length, device=tokens.device) < left[:, None]

    def closed_up(values: Tensor) -> Tensor:
        return torch.zeros_like(present, dtype=values.dtype).masked_scatter_(present, values[kept])

    return closed_up(tokens), present, closed_up(radius)


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Take rows of a table (V, D): index (...) int64 -> (..., D), with a sparse gradient.

    The gradient holds only the rows that were taken, each once, since a pass over all words in
    every step would cost more than the step.
    """
    return cast(Tensor, _Rows.apply(table, index))


class _Rows(torch.autograd.Function):
    """Rows of a table; torch's own embedding leaves those taken twice apart."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.index, ctx.shape = index, table.shape
        return table.index_select(0, index.reshape(-1)).view(*index.shape, table.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        index = ctx.index.reshape(-1)
        taken = torch.zeros(ctx.shape[0], dtype=torch.bool, device=index.device)
        taken[index] = True
        different = taken.nonzero()[:, 0]
        place = torch.empty(ctx.shape[0], dtype=torch.int64, device=index.device)
        place[different] = torch.arange(len(different), device=index.device)
        given = gradients[0].reshape(len(index), -1)
        total = given.new_zeros(len(different), ctx.shape[1]).index_add_(0, place[index], given)
        found = torch.sparse_coo_tensor(
            different[None], total, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return found, None


def logistic_cost(products: Tensor, weights: Tensor, *, wanted: int) -> Tensor:
    """Sum up what products cost as logits of yes and no, in nats: -> a scalar.

    Args:
        products: (N, C, M).
        weights: (N, C, M), how often each counts.
        wanted: How many of the M, the first, are of words that were there, whose answer is yes.
    """
    return cast(Tensor, _Cost.apply(products, weights, wanted))


class _Cost(torch.autograd.Function):
    """The sum of -log of the chances of right answers, in a quarter of softplus's time."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, weights: Tensor, wanted: int) -> Tensor:
        right = products.clone()
        right[..., wanted:].neg_()
        right.sigmoid_()
        ctx.save_for_backward(right, weights)
        ctx.wanted = wanted
        return -(right.clamp(min=LEAST_CHANCE).log_().mul_(weights)).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        right, weights = ctx.saved_tensors
        slope = (1 - right).mul_(weights).mul_(gradients[0])
        slope[..., : ctx.wanted].neg_()
        return slope, None, None


def mean_of(cost: Tensor, count: Tensor) -> Tensor:
    """Give the mean of so many costs, over all processes together, with the slope of their sum.

    word2vec takes a step for each pair of words, so that a word moves the farther in a batch the
    more often it occurs there; the slope of the mean would move rare words too little. Several
    processes average losses and slopes, so each gives its part as many times as there are of them.

    Args:
        cost: The sum of this process's costs.
        count: How many these are.
    """
    whole = summed(count.float()).clamp(min=1)
    return cast(Tensor, _MeanOf.apply(cost * processes(), whole))


class _MeanOf(torch.autograd.Function):
    """A quotient whose slope is that of the dividend."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, whole: Tensor) -> Tensor:
        return cost / whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def cost_of_guessing(counts: Tensor, *, negatives: int, subsample: float) -> float:
    """Compute what the best guess costs that knows only how often words occur, in nats.

    Such a guess has one logit s for each word. With p the word's share among those predicted, which
    are those left in, and q its share of the noise that counts, k times 1 - p (noise is not counted
    for the word itself) times its noise share, it costs p softplus(-s) + q softplus(s), least where
    s = log(p / q):

        sum over words of p log(1 + q / p) + q log(1 + p / q).
    """
    p = counts.double() * kept_share(counts, subsample).double()
    p = p / p.sum()
    q = negatives * (1 - p) * noise_shares(counts)
    return float((torch.xlogy(p, 1 + q / p) + torch.xlogy(q, 1 + p / q)).sum())

"""Words: what vectors of words know, asked by lists of questions that the user names.

Frozen:     the table of vectors, each scaled to length 1.
Fitted:     nothing.
Measured:   of pairs that people rated, the rank correlation (Spearman) of their ratings with the
            cosines of the words' vectors, in [-1, 1], 0 by guessing; of analogies "a is to b as c
            is to d", how often d is the word nearest to b - a + c, the three left out
            (Levy, Goldberg, CoNLL 2014, https://aclanthology.org/W14-1618, section 3: 3CosAdd), 0
            by guessing as good as. Beside them tables that were not trained; and the words nearest
            to given ones.

Pairs and analogies with a word that the table lacks are left out, and counted. Intervals hold the
chance of the pairs: they are the middle 95 % of what resampled pairs give (Efron, Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13), each time beside one of the untrained tables, so
that the luck of first vectors is in them too. The verdict is by the gain on the longest list.

Legend: V words, D numbers of a vector, M pairs or questions, R resamplings.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor

from selfsight.encoders.word_table import WordTable, of_words
from selfsight.errors import UsageError
from selfsight.probes.advice import Trained
from selfsight.probes.advice import command as typed
from selfsight.probes.intervals import wilson
from selfsight.probes.network import NamedNetwork
from selfsight.probes.untrained import untrained_seeds
from selfsight.probes.word_questions import Analogies, RatedPairs, questions_in
from selfsight.settings import Probe
from selfsight.system import machine
from selfsight.system.progress import Bar

RESAMPLED = 1000  # times
WORTH_HAVING = 0.05  # of a correlation, or of right answers
LEAST_KNOWN = 10  # questions that say anything
NEAREST = 5  # words
SHOWN = 5  # words whose nearest are shown where none were asked for
COMMON = 100  # most frequent words that say little
ASKED_AT_ONCE = 1024  # analogies


def probed(names: Sequence[str], settings: Probe, network: NamedNetwork) -> list[dict[str, Any]]:
    """Ask a table of words: -> a record."""
    begun = time.monotonic()
    if settings.data is not None:
        raise UsageError(
            f"words are asked questions, and no DATA; give the list as --test {settings.data}"
        )
    table = of_words(network.encoder).to(network.device)
    unknown = [word for word in settings.word if word.lower() not in table.number]
    if unknown:
        raise UsageError(f"--word {unknown[0]} is none of the {len(table.words):,} words it knows")
    asked = [] if settings.test is None else questions_in(settings.test)
    seeds = untrained_seeds(network.seed, quick=settings.quick)
    untrained = [_untrained(table, seed) for seed in seeds]
    tests: dict[str, dict[str, Any]] = {}
    with Bar("asking", len(asked), unit="lists") as bar:
        for done, one in enumerate(asked, start=1):
            ask = _rated if isinstance(one, RatedPairs) else _analogous
            tests[one.name] = ask(one, table, untrained)  # pyright: ignore[reportArgumentType] -- each its own
            bar(done)
    near = {word: nearest_words(table, word) for word in _shown(table, settings.word)}
    word, reasons = _verdict(tests)
    record = {
        "probe": "words",
        "labels": sum(one["known"] for one in tests.values()),
        "vocabulary": len(table.words),
        "tests": tests,
        "nearest": near,
        "initialisations": len(seeds),
        "verdict": word,
        "reasons": [*reasons, *_told_of_nearest(near)],
        "next": _next(word, network),
        "seconds": round(time.monotonic() - begun, 1),
        "settings": {**dataclasses.asdict(settings), "data": network.data or ""},
        "machine": machine.described(network.device),
    }
    return [record]


def _untrained(table: WordTable, seed: int) -> Tensor:
    """Give the vectors of a fresh table, scaled to length 1: -> (V, D)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = table.recipe.built()
    return F.normalize(fresh.vectors.to(table.vectors.device), dim=1)


def ranks(values: Tensor) -> Tensor:
    """Rank values (..., M) from 1 up, equal ones by the mean of their places: -> float64.

    >>> ranks(torch.tensor([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    ordered = values.sort(dim=-1).values
    below = torch.searchsorted(ordered, values.contiguous())
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Give the rank correlation of x and y (..., M): -> (...) in [-1, 1], 0 of constants."""
    x, y = ranks(x), ranks(y)
    x, y = x - x.mean(dim=-1, keepdim=True), y - y.mean(dim=-1, keepdim=True)
    scale = (x.square().sum(dim=-1) * y.square().sum(dim=-1)).sqrt()
    return torch.where(scale > 0, (x * y).sum(dim=-1) / scale.clamp(min=1e-300), 0.0)


def _rated(asked: RatedPairs, table: WordTable, untrained: list[Tensor]) -> dict[str, Any]:
    """Correlate ratings with cosines: -> the list's part of the record."""
    number = table.number
    known = [(number[a], number[b], s) for a, b, s in asked.pairs if a in number and b in number]
    about = {"kind": "rated pairs", "questions": len(asked.pairs), "known": len(known)}
    if len(known) < LEAST_KNOWN:
        return about
    first, second = torch.tensor([one[:2] for one in known]).T
    rating = torch.tensor([one[2] for one in known], dtype=torch.float64)
    vectors = [F.normalize(table.vectors, dim=1), *untrained]
    cosines = torch.stack([(v[first] * v[second]).sum(dim=1).double().cpu() for v in vectors])
    mine, *theirs = spearman(cosines, rating.expand_as(cosines)).tolist()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(known), (RESAMPLED, len(known)), generator=generator)
    beside = torch.arange(RESAMPLED) % len(untrained) + 1
    again = spearman(cosines[0][rows], rating[rows])
    other = spearman(cosines[beside[:, None], rows], rating[rows])
    return about | _compared(mine, sum(theirs) / len(theirs), again, again - other)


def _analogous(asked: Analogies, table: WordTable, untrained: list[Tensor]) -> dict[str, Any]:
    """Answer analogies: -> the list's part of the record."""
    number = table.number
    known = [
        (section, *(number[word] for word in question))
        for section, questions in asked.sections.items()
        for question in questions
        if all(word in number for word in question)
    ]
    count = sum(map(len, asked.sections.values()))
    about = {"kind": "analogies", "questions": count, "known": len(known)}
    if len(known) < LEAST_KNOWN:
        return about
    rows = torch.tensor([one[1:] for one in known], device=table.vectors.device)
    right = answered_right(F.normalize(table.vectors, dim=1), rows).double().cpu()
    fresh = answered_right(untrained[0], rows).double().cpu()  # others are wrong as often
    mine, theirs = float(right.mean()), float(fresh.mean())
    low, high = wilson(mine, len(known))
    spread = 1.96 * float((right - fresh).var()) ** 0.5 / len(known) ** 0.5
    sections = [one[0] for one in known]
    by_section = {
        name: round(float(right[[s == name for s in sections]].mean()), 4)
        for name in dict.fromkeys(sections)
    }
    return about | {
        "trained": round(mine, 4),
        "untrained": round(theirs, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "gain": round(mine - theirs, 4),
        "gain_low": round(mine - theirs - spread, 4),
        "gain_high": round(mine - theirs + spread, 4),
        "by_section": by_section,
    }


def answered_right(vectors: Tensor, questions: Tensor) -> Tensor:
    """Answer analogies (M, 4) by 3CosAdd, vectors (V, D) being of length 1: -> (M,) bool."""
    right: list[Tensor] = []
    for a, b, c, answer in (part.T for part in questions.split(ASKED_AT_ONCE)):
        likeness = (vectors[b] - vectors[a] + vectors[c]) @ vectors.T
        likeness.scatter_(1, torch.stack([a, b, c], dim=1), -torch.inf)
        right.append(likeness.argmax(dim=1) == answer)
    return torch.cat(right)


def _compared(mine: float, theirs: float, again: Tensor, gains: Tensor) -> dict[str, Any]:
    """Put a result beside that of untrained tables, with intervals from resamplings (R,)."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = again.quantile(ends).tolist()
    gain_low, gain_high = gains.quantile(ends).tolist()
    numbers = {
        "trained": mine,
        "untrained": theirs,
        "low": low,
        "high": high,
        "gain": mine - theirs,
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
    return {key: round(value, 4) for key, value in numbers.items()}


def nearest_words(table: WordTable, word: str, count: int = NEAREST) -> dict[str, float]:
    """Find the words nearest to one: -> their cosines by word, the nearest first.

    Raises:
        KeyError: If the table lacks the word.
    """
    vectors = F.normalize(table.vectors, dim=1)
    own = table.number[word.lower()]
    likeness = vectors @ vectors[own]
    likeness[own] = -torch.inf
    found = likeness.topk(min(count, len(vectors) - 1))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return {table.words[place]: round(value, 3) for place, value in pairs}


def _shown(table: WordTable, asked: Sequence[str]) -> list[str]:
    """Choose the words whose nearest are shown: those asked, or some that are rather frequent."""
    if asked:
        return list(dict.fromkeys(word.lower() for word in asked))
    long = [word for word in table.words[COMMON : COMMON * 10] if len(word) > 3 and word.isalpha()]
    return (long or table.words)[:: max(1, len(long) // SHOWN)][:SHOWN]


def _told_of_nearest(near: dict[str, dict[str, float]]) -> list[str]:
    return [f"Nearest to {word}: {', '.join(others)}." for word, others in near.items()]


def _verdict(tests: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """Judge by the list with the most known questions: -> verdict, reasons."""
    known = {name: one for name, one in tests.items() if "gain" in one}
    if not known:
        few = [f"{name} has {one['known']} known questions" for name, one in tests.items()]
        told = (
            f"Of the lists given none has {LEAST_KNOWN}: {', '.join(few)}."
            if few
            else (
                "No questions with known answers were asked: give a list as --test FILE, such as "
                "that of WordSim-353."
            )
        )
        return "unknown", [told]
    pairs = {name: one for name, one in known.items() if one["kind"] == "rated pairs"}
    of = pairs or known
    name = max(of, key=lambda one: of[one]["known"])
    one = of[name]
    low, high = one["gain_low"], one["gain_high"]
    if low > 0:
        word = "learning"
    else:
        word = "no better than untrained" if high < WORTH_HAVING else "too close to tell"
    what = "The rank correlation with" if one["kind"] == "rated pairs" else "Of the answers to"
    verb = "is" if one["kind"] == "rated pairs" else "the share that is right is"
    return word, [
        f"{what} {name} {verb} {one['trained']:.3f}, {one['gain']:+.3f} beside untrained tables "
        f"(95 %: {low:+.3f} to {high:+.3f}), on {one['known']:,} of {one['questions']:,} questions."
    ]


def _next(verdict: str, network: NamedNetwork) -> dict[str, Any] | None:
    """Say what to do next."""
    if network.run is None:
        return None
    run = str(network.run.path)
    if verdict == "learning":
        return {
            "words": "Write the vectors down in word2vec's own format for other programs.",
            "command": typed("embed", run, "--out", "words.txt"),
        }
    if verdict == "unknown":
        return {
            "words": "A list of pairs that people rated tells what the vectors are worth.",
            "command": None,
        }
    of = Trained.kept(run, network.run.settings)
    return {
        "words": "Train longer, or on more text: rare words need many sentences.",
        "command": of.again(of.tasks[0], longer=4),
    }


def table_of(record: dict[str, Any]) -> Table:
    """Lay a record out for people."""
    table = Table(title="What the vectors of words know")
    for name in ("list", "known", "trained", "95 %", "untrained"):
        table.add_column(name, justify="left" if name == "list" else "right")
    for name, one in record["tests"].items():
        known = f"{one['known']:,} of {one['questions']:,}"
        if "gain" not in one:
            table.add_row(name, known, "", "too few", "")
            continue
        between = f"{one['low']:.3f} to {one['high']:.3f}"
        table.add_row(name, known, f"{one['trained']:.3f}", between, f"{one['untrained']:.3f}")
    return table

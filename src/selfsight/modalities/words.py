"""Words: text as passages of numbered words; a task cuts its windows from these."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from selfsight.data.reporting import say_once, say_skipped
from selfsight.data.samples import Storage
from selfsight.data.source import Parts
from selfsight.data.words.batch import Words
from selfsight.data.words.passages import PASSAGE, SHARE_OF_MEMORY, Passages, read_passages
from selfsight.data.words.store import BYTES
from selfsight.data.words.text import Text, open_text
from selfsight.encoders import BaseEncoder
from selfsight.encoders.word_table import MOST_WORDS, TableRecipe, WordTable, of_words
from selfsight.errors import UsageError
from selfsight.modalities.base import (
    AskedBy,
    Modality,
    NextStep,
    Planned,
    Reading,
    SamplePlan,
    Usual,
)
from selfsight.settings import Pretrain
from selfsight.system.machine import cache_folder, memory, size_in_words
from selfsight.system.progress import Bar
from selfsight.system.validation import MOST
from selfsight.tasks.base import Needs

LEAST_COUNT, WIDTH = 5, 100  # word2vec's
JUDGED = 1000  # words


@dataclass(frozen=True)
class WordPlan(SamplePlan):
    """What a run's plan says of its text.

    Attributes:
        words: Words of the vocabulary.
        tokens: Running words that are learned from.
        least_count: How often a word must occur to be in the vocabulary.
    """

    RANGES: ClassVar = {"words": (2, MOST_WORDS), "tokens": (1, MOST), "least_count": (1, MOST)}

    words: int
    tokens: int
    least_count: int


class OfWords(Modality[Text, Passages, WordPlan, WordTable]):
    """Words of running text; what is trained is a vector for each word of the vocabulary."""

    name = "words"
    unit = "passages"
    sample = WordPlan
    batch = Words
    usual = Usual(
        optimizers=("adagrad",),
        rate=0.3,
        decay=0.0,
        warm_up=0.0,
        batch=32,
        epochs=5,
        precisions=("f32",),
    )
    probes = ("words",)
    unanswered = (
        "Whether like words have like vectors cannot be told from a text alone: a list of pairs "
        "that people rated tells."
    )
    next_step = NextStep(
        "See which words it takes for alike; with --test and a list of rated pairs, as that of "
        "WordSim-353, how well that agrees with people.",
        "probe",
        ("--probe", "words"),
    )
    more = f" text: a passage has up to {PASSAGE} words"
    remedy = f"leave --encoder out: words are learned as a {TableRecipe.name}"

    def open(self, data: str) -> Parts[Text]:
        """List files of text."""
        return open_text(data)

    def planned(
        self,
        source: Text,
        settings: Pretrain,
        needs: Needs,
        asked_by: AskedBy,
        start: BaseEncoder | None,
        device: str,
    ) -> Planned[WordPlan]:
        """Plan what is counted; how much that is shows when the text is read."""
        if settings.storage == "stream":
            raise UsageError(
                "--storage must be auto, memory or map where words are learned, got stream: a "
                "text is read once, and then its words' numbers"
            )
        return Planned(WordPlan(0, 0, settings.least_count or LEAST_COUNT))

    def read(self, source: Text, sample: WordPlan, how: Reading, known: Any = None) -> Passages:
        """Read text, in memory or onto the disk."""
        total = sum(source.bytes_of(i) for i in range(len(source)))
        with Bar("reading", total, unit="bytes") as bar:
            passages = read_passages(
                source,
                least_count=sample.least_count,
                limit=how.limit,
                storage=how.storage,
                memory=int(memory() * SHARE_OF_MEMORY) // how.processes,
                progress=lambda done, _: bar(done),
            )
        for note in passages.notes:
            say_once(note)
        say_skipped(passages.skipped, len(source), how.listed_in, unit="files")
        return passages

    def read_more(self, source: Text, sample: WordPlan, listed_in: str) -> Passages:
        """Read other text, all of its words, however rare they are in it."""
        return self.read(source, replace(sample, least_count=1), Reading(listed_in))

    def completed(self, sample: WordPlan, samples: Passages) -> WordPlan:
        """Count what was read."""
        return replace(sample, words=len(samples.vocabulary.words), tokens=samples.tokens)

    def encoder(
        self,
        settings: Pretrain,
        sample: WordPlan,
        samples: Passages,
        start: BaseEncoder | None,
        device: str,
        *,
        of_task: tuple[str, dict[str, Any]] | None = None,
    ) -> tuple[WordTable, tuple[str, ...]]:
        """Build a table for the vocabulary."""
        if settings.encoder not in (None, TableRecipe.name):
            raise UsageError(
                f"--encoder must be {TableRecipe.name} where words are learned, got "
                f"{settings.encoder}; leave it out"
            )
        width = settings.width or WIDTH
        notes: tuple[str, ...] = ()
        if settings.start is not None:
            before = _start_of(settings.start, start)
            if settings.width not in (None, before.dim):
                raise UsageError(
                    f"--from {settings.start} brings vectors of {before.dim} numbers; leave "
                    "--width out"
                )
            width = before.dim
            known = sum(word in before.number for word in samples.vocabulary.words)
            notes = (
                f"{known:,} of {len(samples.vocabulary.words):,} words begin with the vectors of "
                f"{settings.start}, the others anew",
            )
        with torch.random.fork_rng():
            return TableRecipe.of(samples.vocabulary.words, width).built(), notes

    def take_over_weights(self, start: BaseEncoder, encoder: WordTable) -> None:
        """Take over the vectors of words that both know, once the table knows its words."""
        encoder.inherit(of_words(start))

    def introduce(self, encoder: BaseEncoder, samples: Passages) -> None:
        """Tell the table its words."""
        counts = torch.from_numpy(samples.vocabulary.counts)
        of_words(encoder).name_words(samples.vocabulary.words, counts)

    def seen(
        self, samples: Passages, rows: Tensor, sample: WordPlan, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Give the words of passages: -> (B, `PASSAGE`) int64."""
        return samples.seen(rows, device)

    def judged_inputs(
        self, samples: Passages, encoder: WordTable, sample: WordPlan, most: int
    ) -> Tensor:
        """Give the most frequent words: -> (at most `most`,) int64."""
        return torch.arange(min(most, len(samples.vocabulary.words)))

    def data_line(self, sample: WordPlan, *, samples: int, storage: Storage) -> str:
        """Say how many words are kept where."""
        store = size_in_words(sample.tokens * BYTES)
        place = "memory" if storage == "memory" else f"a file in {cache_folder()}"
        return (
            f"{sample.tokens:,} words of text, {sample.words:,} different ones that occur "
            f"{sample.least_count} times or more, in {samples:,} passages of up to {PASSAGE} words "
            f"({store} in {place})"
        )


def _start_of(name: str, start: BaseEncoder | None) -> WordTable:
    """Take a run's encoder as one of words.

    Raises:
        UsageError: If there is none, or it is of something else.
    """
    if start is None:
        raise UsageError(f"words begin with the vectors of a run of words, got --from {name}")
    return of_words(start)

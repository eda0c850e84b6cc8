"""Passages: a text in pieces of a few hundred words, each by its number in a vocabulary.

A text is read once, block by block: every word gets a number as it comes, then the words that are
frequent enough get their final ones, and the others are taken out, as in word2vec, so that their
neighbours become neighbours of each other. A passage never goes past the end of a file.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from selfsight.data.batches import some_rows
from selfsight.data.samples import Samples, Skipped, Storage
from selfsight.data.source import Unreadable
from selfsight.data.words.store import InMemory, OnDisk, Store
from selfsight.data.words.text import NoText, Text
from selfsight.data.words.vocabulary import Numbering, Vocabulary, chosen, slices_of, words_in
from selfsight.errors import SelfsightError
from selfsight.system import machine
from selfsight.system.escaping import escaped

PASSAGE = 512  # words
SHARE_OF_MEMORY = 0.25
MOST_SKIPPED = 0.1  # share of unreadable files past which reading fails
LISTED = 10  # unreadable files that a message names
BYTES_A_WORD = 4.5  # of English at least, with the space; less only makes the store too large
UNPACKED = 4  # times as large as a packed file, at most, is what is in it

Progress = Callable[[int, int], None] | None  # bytes read, of how many


@dataclass(frozen=True)
class Passages(Samples):
    """A text in passages.

    Attributes:
        name: Where it comes from.
        vocabulary: Its words.
        store: The numbers of all words that are learned, file after file.
        starts: (N,) int64, the place in the store where each passage begins.
        lengths: (N,) int64, how many words each has, 1 to `PASSAGE`.
        files: How many files were read.
        skipped: The files that could not be read.
        notes: What a user should know of them, a sentence each.
        fingerprint: Hexadecimal hash of vocabulary and text: another one, other data.
        storage: Where the store is.
    """

    name: str
    vocabulary: Vocabulary
    store: Store
    starts: Tensor
    lengths: Tensor
    files: int
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    fingerprint: str
    storage: Storage
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    origins: Tensor | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def tokens(self) -> int:
        """How many running words there are."""
        return int(self.lengths.sum())

    def taken(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Read passages: (B,) int64 -> numbers (B, PASSAGE) int64, 0 past the end, lengths (B,)."""
        extent = self.lengths[rows]
        found = np.zeros((len(rows), PASSAGE), np.int64)
        starts = self.starts[rows].tolist()
        for place, (start, length) in enumerate(zip(starts, extent.tolist(), strict=True)):
            found[place, :length] = self.store.read(start, length)
        return torch.from_numpy(found), extent

    def renumbered(self, number: Mapping[str, int]) -> "Passages":
        """Number words as another vocabulary does; words that it lacks are left out."""
        numbered = np.array([number.get(word, -1) for word in self.vocabulary.words], np.int32)
        store, lengths = InMemory(), list[int]()
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            piece = numbered[self.store.read(start, length)]
            store.add(piece[piece >= 0])
            lengths.append(int((piece >= 0).sum()))
        extent = torch.tensor(lengths)
        starts = extent.cumsum(0) - extent
        return replace(self, store=store, starts=starts[extent > 0], lengths=extent[extent > 0])

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give the numbers of passages: (B,) int64 -> (B, PASSAGE) int64."""
        return self.taken(rows)[0].to(device)


def read_passages(
    text: Text,
    *,
    least_count: int,
    limit: int | None = None,
    storage: Storage | None = None,
    memory: int | None = None,
    progress: Progress = None,
) -> Passages:
    """Read a text.

    Args:
        text: Its files.
        least_count: How often a word must occur to be learned, at least 1.
        limit: Keep this many passages, from all over the text and the same ones every time; words
            are counted in all of it.
        storage: "memory" or "map"; by default memory where it fits.
        memory: Most bytes to keep in memory; by default a quarter of the machine's.
        progress: Called with bytes read, and bytes in all.

    Raises:
        SelfsightError: If no words are found, or two that are frequent enough, or too many files
            cannot be read.
    """
    sizes = [text.bytes_of(i) for i in range(len(text))]
    if storage is None:
        most = int(machine.memory() * SHARE_OF_MEMORY) if memory is None else memory
        packed = [UNPACKED * size if text.is_packed(i) else size for i, size in enumerate(sizes)]
        storage = "memory" if sum(packed) / BYTES_A_WORD * 4 <= most else "map"
    numbers, store = Numbering(), InMemory() if storage == "memory" else OnDisk()
    ends, skipped, left_out = _numbered(text, sizes, numbers, store, progress)
    _judge(text, skipped, left_out, len(store))
    vocabulary, ends = _settled(text, numbers, store, ends, least_count)
    starts, lengths = _cut(ends)
    if limit is not None and limit < len(starts):
        rows = some_rows(len(starts), limit).sort().values
        starts, lengths = starts[rows], lengths[rows]
    return Passages(
        name=text.name,
        vocabulary=vocabulary,
        store=store,
        starts=starts,
        lengths=lengths,
        files=len(text) - len(skipped) - len(left_out),
        skipped=tuple(skipped),
        notes=_told_of_left_out(left_out) + _told_of_stray(text),
        fingerprint=_fingerprint(vocabulary, store, starts, lengths),
        storage=storage,
    )


def _numbered(
    text: Text, sizes: list[int], numbers: Numbering, store: Store, progress: Progress
) -> tuple[list[int], list[Skipped], list[Skipped]]:
    """Number the words of all files: -> where each file ends, files skipped and left out."""
    ends: list[int] = []
    skipped: list[Skipped] = []
    left_out: list[Skipped] = []
    before = 0
    for i, size in enumerate(sizes):
        begun = len(store)
        try:
            for piece, read in text.blocks(i):
                store.add(numbers.of(words_in(piece)))
                if progress and before + read < sum(sizes):
                    progress(before + read, sum(sizes))
        except Unreadable as reason:
            store.shorten(begun)
            text.stray.pop(i, None)
            kind = left_out if isinstance(reason, NoText) else skipped
            kind.append(Skipped(text.title(i), str(reason)))
        before += size
        ends.append(len(store))
    if progress:
        progress(before, before)
    return ends, skipped, left_out


def _judge(text: Text, skipped: list[Skipped], left_out: list[Skipped], words: int) -> None:
    """Stop when there are no words, or too many files could not be read.

    Raises:
        SelfsightError: With the first files and why.
    """
    count, name = len(text) - len(left_out), escaped(text.name)
    if skipped and len(skipped) > MOST_SKIPPED * count:
        raise SelfsightError(
            f"{len(skipped)} of {count} files in {name} cannot be read, and at most "
            f"{MOST_SKIPPED:.0%} may be skipped. Repair or remove them:\n{_listed(skipped)}"
        )
    if not words:
        told = f"\n{_listed(left_out)}" if left_out else ""
        raise SelfsightError(
            f"no word in {name}: its {len(text)} file{'s' if len(text) > 1 else ''} "
            f"{'are' if len(text) > 1 else 'is'} empty or no text; give text in UTF-8{told}"
        )


def _listed(files: list[Skipped]) -> str:
    """List the first files with their reasons, a line each."""
    lines = [f"  {one.title}: {one.reason}" for one in files[:LISTED]]
    rest = len(files) - LISTED
    return "\n".join([*lines, f"  and {rest} more"] if rest > 0 else lines)


def _told_of_left_out(files: list[Skipped]) -> tuple[str, ...]:
    """Say which files are no text."""
    if not files:
        return ()
    plural = "s that are" if len(files) > 1 else " that is"
    return (f"{len(files)} file{plural} no text left out, the first: {files[0].title}",)


def _told_of_stray(text: Text) -> tuple[str, ...]:
    """Say how many bytes are not UTF-8, in files that were read all the same."""
    if not text.stray:
        return ()
    i, first = next(iter(text.stray.items()))
    count = sum(stray.number for stray in text.stray.values())
    return (
        f"{count:,} bytes are not UTF-8 and part words like a space, the first in {text.title(i)}: "
        f"{first.first}",
    )


def _settled(
    text: Text, numbers: Numbering, store: Store, ends: list[int], least_count: int
) -> tuple[Vocabulary, list[int]]:
    """Give words their final numbers in place, and take the rare ones out: -> it, new ends."""
    counts = np.zeros(len(numbers), np.int64)
    for part in slices_of(len(store)):
        piece = store.read(part.start, part.stop - part.start)
        counts += np.bincount(piece, minlength=len(numbers))
    vocabulary, numbered = chosen(numbers, counts, least_count)
    if len(vocabulary.words) < 2:
        raise SelfsightError(
            f"at least 2 words must occur {least_count} times or more, and of the "
            f"{len(numbers):,} words of {escaped(text.name)} {len(vocabulary.words)} do"
            f"{'es' if len(vocabulary.words) == 1 else ''}; give more text, or a lower "
            "--least-count"
        )
    done, new_ends, begun = 0, list[int](), 0
    for end in ends:
        for part in slices_of(end - begun):
            piece = numbered[store.read(begun + part.start, part.stop - part.start)]
            piece = piece[piece >= 0]
            store.write(done, piece)
            done += len(piece)
        new_ends.append(done)
        begun = end
    store.shorten(done)
    return vocabulary, new_ends


def _cut(ends: list[int]) -> tuple[Tensor, Tensor]:
    """Cut files into passages: where each file ends -> starts (N,), lengths (N,)."""
    bounds = [0, *ends]
    starts = [torch.arange(begun, end, PASSAGE) for begun, end in pairwise(bounds)]
    lengths = [(end - of).clamp(max=PASSAGE) for of, end in zip(starts, ends, strict=True)]
    return torch.cat(starts), torch.cat(lengths)


def _fingerprint(vocabulary: Vocabulary, store: Store, starts: Tensor, lengths: Tensor) -> str:
    """Hash all that a task can see: -> hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(vocabulary.words).encode())
    digest.update(starts.numpy().tobytes() + lengths.numpy().tobytes())
    for part in slices_of(len(store)):
        digest.update(store.read(part.start, part.stop - part.start).tobytes())
    return digest.hexdigest()

"""Word vectors in word2vec's own text format, which most programs on words read.

The first line says how many words there are, and of how many numbers a vector; each further line
is a word and its numbers, with spaces between.
"""

from pathlib import Path

from selfsight.encoders.word_table import WordTable
from selfsight.system import atomic
from selfsight.system.progress import Bar

AT_ONCE = 4096  # words


def write_word_vectors(table: WordTable, path: Path, *, another: str) -> None:
    """Write all vectors, whole or not at all.

    Raises:
        SelfsightError: If it cannot be written; `another` is what to do then.
    """
    vectors, words = table.vectors.cpu(), table.words
    with (
        atomic.written(path, another=another) as file,
        Bar("writing", len(words), unit="words") as bar,
    ):
        file.write(f"{len(words)} {table.dim}\n".encode())
        for first in range(0, len(words), AT_ONCE):
            rows = vectors[first : first + AT_ONCE].tolist()
            lines = (
                f"{word} {' '.join(f'{number:.6g}' for number in row)}\n"
                for word, row in zip(words[first : first + AT_ONCE], rows, strict=True)
            )
            file.write("".join(lines).encode())
            bar(min(first + AT_ONCE, len(words)))

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data.words import passages as of_passages
from selfsight.data.words.batch import Words
from selfsight.data.words.passages import PASSAGE, Passages, read_passages
from selfsight.data.words.store import InMemory, OnDisk, Store
from selfsight.data.words.text import open_text
from selfsight.data.words.vocabulary import words_in
from selfsight.errors import SelfsightError


def read(folder: Path, least_count: int = 1, **how: object) -> Passages:
    return read_passages(open_text(str(folder)).train, least_count=least_count, **how)  # pyright: ignore[reportArgumentType]


def told(passages: Passages, row: int) -> list[str]:
    tokens, extent = passages.taken(torch.tensor([row]))
    numbers: list[int] = tokens[0, : int(extent[0])].tolist()
    return [passages.vocabulary.words[i] for i in numbers]


def test_words_are_numbered_by_how_often_they_occur_and_rare_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cat. The dog!\nthe cat; a fish")

    passages = read(tmp_path, 2)

    assert list(passages.vocabulary.words) == ["the", "cat"]
    assert passages.vocabulary.counts.tolist() == [3, 2]
    assert told(passages, 0) == ["the", "cat", "the", "the", "cat"]


def test_bytes_that_are_not_utf8_are_counted_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"many words " * 100 + b"caf\xe9 th\xe9")
    (tmp_path / "b.txt").write_bytes(b"only words " * 100)

    (note,) = read(tmp_path).notes

    assert note.startswith("2 bytes are not UTF-8")
    assert note.endswith("the first in a.txt: byte 1,103 is 0xE9")


def test_counts_are_those_of_a_plain_count(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    whole = " ".join(f"w{i}" for i in generator.geometric(0.05, 5000))
    (tmp_path / "a.txt").write_text(whole)

    passages = read(tmp_path, 5)

    plain = {word: count for word, count in Counter(words_in(whole)).items() if count >= 5}
    assert dict(zip(passages.vocabulary.words, passages.vocabulary.counts, strict=True)) == plain
    kept = [word for word in words_in(whole) if word in plain]
    assert [word for row in range(len(passages)) for word in told(passages, row)] == kept


def test_a_passage_never_goes_past_the_end_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one " * (PASSAGE + 3))
    (tmp_path / "b.txt").write_text("two " * 2)

    passages = read(tmp_path)

    assert passages.lengths.tolist() == [PASSAGE, 3, 2]
    assert set(told(passages, 1)) == {"one"}
    assert set(told(passages, 2)) == {"two"}


def test_on_the_disk_it_is_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "text"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(f"some words of {name} and some more " * 300)

    held, mapped = read(folder, storage="memory"), read(folder, storage="map")

    assert mapped.fingerprint == held.fingerprint
    rows = torch.arange(len(held))
    assert torch.equal(held.taken(rows)[0], mapped.taken(rows)[0])
    assert not [*(tmp_path / "cache").rglob("*.*")]  # the file has no name


def test_what_does_not_fit_into_memory_goes_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a").write_text("some words " * 100)

    assert read(folder, memory=100).storage == "map"
    assert read(folder, memory=10_000).storage == "memory"


def test_another_text_has_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two one two")
    before = read(tmp_path).fingerprint
    (tmp_path / "a.txt").write_text("one two two one")

    assert read(tmp_path).fingerprint != before


def test_limit_takes_some_passages_of_the_whole_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ".join(f"w{i % 997}" for i in range(20 * PASSAGE)))

    passages = read(tmp_path, limit=3)

    assert len(passages) == 3
    assert len(passages.vocabulary.words) == 997


@pytest.mark.parametrize("store", [InMemory, OnDisk])
def test_a_store_keeps_what_is_written(
    store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    kept = store()

    kept.add(np.arange(10, dtype=np.int32))
    kept.write(2, np.array([7, 7], np.int32))
    kept.shorten(5)
    kept.add(np.array([9], np.int32))

    assert len(kept) == 6
    assert kept.read(1, 5).tolist() == [1, 7, 7, 4, 9]


def test_empty_files_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")

    with pytest.raises(SelfsightError, match=r"no word in .* is empty or no text"):
        read(tmp_path)


def test_one_word_is_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100)

    with pytest.raises(SelfsightError, match="at least 2 words must occur 5 times or more"):
        read(tmp_path, 5)


def test_a_few_broken_files_are_skipped_and_listed(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}.txt").write_text(f"one two {i}")
    (tmp_path / "05.txt").write_bytes(b"\xe9\xe8\xe7 one")
    (tmp_path / "picture.png").write_bytes(b"\0\0")

    passages = read(tmp_path)

    assert [one.title for one in passages.skipped] == ["05.txt"]
    assert passages.files == 19
    assert "1 file that is no text left out, the first: picture.png" in passages.notes
    assert "5" not in passages.vocabulary.words


def test_many_broken_files_stop_the_reading(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text("one two")
    (tmp_path / "0.txt").write_bytes(b"one two \xe9\xe8\xe7")

    with pytest.raises(SelfsightError, match=r"1 of 5 files in .* at most 10% may be skipped"):
        read(tmp_path)


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two " * 10)
    seen: list[tuple[int, int]] = []

    read(tmp_path, progress=lambda done, of: seen.append((done, of)))

    assert seen[-1] == (80, 80)
    assert len(seen) == len(set(seen))


def test_a_batch_holds_the_passages_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three")
    passages = read(tmp_path)

    batch = Words.from_rows(passages, torch.tensor([0]), seed=3, epoch=1)

    assert batch.tokens.shape == (1, of_passages.PASSAGE)
    assert batch.extent.tolist() == [3]
    assert (batch.draws.seed, batch.draws.epoch) == (3, 1)


def test_words_of_another_vocabulary_are_numbered_as_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three one")
    passages = read(tmp_path).renumbered({"one": 5, "three": 2})

    tokens, extent = passages.taken(torch.tensor([0]))

    assert tokens[0, : int(extent[0])].tolist() == [5, 2, 5]

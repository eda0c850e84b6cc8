import gzip
from pathlib import Path

import pytest

from selfsight.data.source import Unreadable
from selfsight.data.words import text as of_text
from selfsight.data.words.text import NoText, open_text
from selfsight.errors import SelfsightError


def whole(folder: Path, i: int = 0) -> str:
    return "".join(piece for piece, _ in open_text(str(folder)).train.blocks(i))


def test_a_file_packed_by_gzip_is_told_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"one two three"))

    text = open_text(str(tmp_path)).train

    assert text.is_packed(0)
    assert whole(tmp_path) == "one two three"


def test_no_word_is_cut_between_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_text, "BLOCK", 7)
    words = [f"wörd{i}" for i in range(50)]
    (tmp_path / "a.txt").write_text(" ".join(words), encoding="utf-8")

    pieces = [piece for piece, _ in open_text(str(tmp_path)).train.blocks(0)]

    assert len(pieces) > 10
    assert [word for piece in pieces for word in piece.split()] == words


def test_folders_are_read_whole_but_hidden_files_and_runs_are_not(tmp_path: Path) -> None:
    for place in ("b/c/two.txt", "a.txt", ".hidden", "run/settings.json", "run/metrics.csv"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("word")

    assert open_text(str(tmp_path)).train.paths == ["a.txt", "b/c/two.txt"]


def test_a_single_stray_byte_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"many words " * 100 + b"caf\xe9 here")

    assert whole(tmp_path).split()[-1] == "here"


def test_text_in_another_encoding_says_which_byte_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("né à Orléans".encode("latin-1"))

    with pytest.raises(Unreadable, match=r"not in UTF-8: byte 1 is 0xE9; .*iconv -f LATIN1"):
        whole(tmp_path)


def test_utf_16_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("words".encode("utf-16"))

    with pytest.raises(Unreadable, match="UTF-16"):
        whole(tmp_path)


def test_a_picture_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x89PNG\r\n\0\0")

    with pytest.raises(NoText, match="byte 6 is 0"):
        whole(tmp_path)


def test_a_damaged_gzip_file_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"word " * 1000)[:40])

    with pytest.raises(Unreadable, match="cannot be read"):
        whole(tmp_path)


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="is not there; give text"):
        open_text(str(tmp_path / "nowhere"))
    with pytest.raises(SelfsightError, match="no file in"):
        open_text(str(tmp_path))

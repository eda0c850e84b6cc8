"""Escaping: any name of a file or class is read, shown and written in the same way."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from rich.table import Table

import selfsight
from selfsight.cli import _libraries_told, main
from selfsight.data.pictures import open_data
from selfsight.errors import SelfsightError
from selfsight.looks.embeddings import NpzFile, ParquetFile, Rows
from selfsight.looks.figure import save_figure
from selfsight.looks.photographs.photograph import listed
from selfsight.probes.advice import command
from selfsight.system.escaping import UNSHOWN, escaped, printable, shell_quoted
from selfsight.system.progress import answers, console

LATIN = os.fsdecode(b"caf\xe9.png")  # no UTF-8
ODD = (
    LATIN,
    "a\nb.png",
    "a\x1b[31mred.png",
    "a\u202egnp.png",
    "a\u2028b.png",
    "$x_1$ \\frac$.png",
    "back\\slash.png",
    "back\\xe9.png",
    "back\\new.png",
    "\ud800.png",
    "\U000e0041.png",
    "[red]b[/red].png",
    "\u65e5\u672c \u0646\u200c\u0645.png",
)


def told_back(name: str) -> str:
    """Undo what `escaped` does, by the rule in its module's docstring."""
    escape = r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(n)|(\\))"

    def one(match: re.Match[str]) -> str:
        byte, short, long, newline, _ = match.groups()
        if byte:
            value = int(byte, 16)
            return chr(value) if value < 0x80 else os.fsdecode(bytes([value]))
        if short or long:
            return chr(int(short or long, 16))
        return "\n" if newline else "\\"

    return re.sub(escape, one, name)


@pytest.mark.parametrize("name", ODD)
def test_a_shown_name_can_be_printed_and_told_back(name: str) -> None:
    written = escaped(name)

    written.encode()  # it is text
    assert not any(character in written for character in "\n\x1b\u202e\u2028")
    assert told_back(written) == name


def test_different_names_are_shown_differently() -> None:
    chance = np.random.default_rng(0)
    letters = ["\\", "n", "x", "u", "e", "9", "0", "\n", "\udce9", "\u202e", "\x1b", "\x80"]
    names = {"".join(chance.choice(letters, size)) for size in range(1, 9) for _ in range(2000)}

    assert len({escaped(name) for name in names}) == len(names)
    assert all(told_back(escaped(name)) == name for name in names)


def test_a_usual_name_is_shown_as_it_is() -> None:
    for name in ("cat/1.png", "C:\\photos\\1.png", "na\u00efve.png", "$5.png", "a b.png"):
        assert escaped(name) == name


def test_a_sentence_keeps_its_own_lines() -> None:
    assert printable(f"first\n  {LATIN}\u202e") == "first\n  caf\\xe9.png\\u202e"


def test_no_name_in_a_sentence_begins_a_line_of_its_own() -> None:
    assert printable("a.png\nselfsight: done\r\x07") == "a.png\\nselfsight: done\\x0d\\x07"
    assert printable("C:\\new  b") == "C:\\new  b"


def test_of_a_word_longer_than_any_path_only_the_ends_are_told() -> None:
    assert printable(f"no file {'a' * 4096}") == f"no file {'a' * 4096}"
    assert printable(f"no {'b' * 100_000} here") == (
        f"no {'b' * 100}[99,800 more characters]{'b' * 100} here"
    )


HOSTILE = "\x1b]8;;http://x\x07\x9b31m\x7f\u202e"  # a link, a colour, a rubout, writing turned


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "word", [*ODD[:9], "$(touch x)", "; rm x", "it's", "`x`", "", HOSTILE, "\t'\\\n "]
)
def test_a_shell_reads_a_word_of_a_command_as_it_was(word: str, tmp_path: Path) -> None:
    line = command("probe", word)

    assert printable(line) == line
    read = subprocess.run(
        ["bash", "-c", f"printf %s {shell_quoted(word)}"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert os.fsdecode(read.stdout) == word
    assert line == f"selfsight probe {shell_quoted(word)}"
    assert list(tmp_path.iterdir()) == []


def test_a_table_holds_names_as_sentences_do(capfd: pytest.CaptureFixture[str]) -> None:
    table = Table(title=f"title {HOSTILE}")
    table.add_column(f"column {HOSTILE}")
    table.add_row(f"[red]:smile: {HOSTILE}[/red] [link=http://x]x[/link]")

    answers().print(table)

    printed = capfd.readouterr().out
    assert unshowable(printed) == set()
    assert printed.count("\\x1b]8;;http://x\\x07\\u009b31m\\x7f\\u202e") == 3
    assert "[red]:smile: " in printed
    assert "[link=http://x]x[/link]" in printed


def test_what_libraries_remark_is_written_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    formatted, handler = warnings.formatwarning, logging.lastResort

    with _libraries_told():
        assert logging.lastResort is not None
        logging.lastResort.handle(logging.makeLogRecord({"msg": "tag %s", "args": (HOSTILE,)}))
        sys.stderr.write(warnings.formatwarning(f"of {HOSTILE}", UserWarning, "a.py", 1, "x = 1"))

    assert (warnings.formatwarning, logging.lastResort) == (formatted, handler)
    said = capfd.readouterr().err
    assert unshowable(said) == set()
    assert said.splitlines()[0].startswith("tag \\x1b]8;;")
    assert said.splitlines()[2] == "  x = 1"


def unshowable(text: str) -> set[str]:
    """Find what a text must not hold, besides the line breaks of its lines."""
    return {c for c in text if unicodedata.category(c) in UNSHOWN} - {"\n"}


def texts_in(value: Any) -> Iterator[str]:
    """Find every text in plain values."""
    if isinstance(value, bytes):
        yield value.decode(errors="surrogateescape")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from texts_in(key)
            yield from texts_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts_in(one)


def texts_of(path: Path) -> Iterator[str]:
    """Find every text in a file that a verb wrote, as a reader of the file would."""
    if path.suffix in ("", ".json", ".csv", ".yaml"):
        yield path.read_text()
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            yield from texts_in(picture.info)
    elif path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        yield from texts_in(table.schema.metadata)
        yield from texts_in(table.drop_columns("embedding").to_pydict())
    elif path.suffix == ".npz":
        for key, one in np.load(io.BytesIO(path.read_bytes())).items():
            yield from texts_in([key, *one.ravel().tolist()] if one.dtype.kind == "U" else key)
    elif path.suffix == ".safetensors":
        data = path.read_bytes()
        yield data[8 : 8 + int.from_bytes(data[:8], "little")].decode().rstrip()
    elif path.suffix == ".pt":
        yield from texts_in(torch.load(io.BytesIO(path.read_bytes()), weights_only=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders and pictures of odd names, one of them cut short."""
    for name in (os.fsdecode(b"\xe9t\xe9 $x$"), "new\nline", HOSTILE.replace("/", ":")):
        (tmp_path / name).mkdir()
        for k in range(6):
            for end in (LATIN, " $\\frac$\u202e\n\x1b[31m\x9b.png"):
                values = np.random.default_rng(k).integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(values).save(tmp_path / name / f"{k}{end}", "PNG")
    broken = tmp_path / "new\nline" / f"0{LATIN}"
    broken.write_bytes(broken.read_bytes()[:60])
    return tmp_path


SHOWN_CLASSES = (
    "new\\nline",
    "\\xe9t\\xe9 $x$",
    "\\x1b]8;;http:::x\\x07\\u009b31m\\x7f\\u202e",
)


def test_a_folder_of_odd_names_is_read(folder: Path) -> None:
    source = open_data(folder).train

    assert sorted(source.classes) == sorted(SHOWN_CLASSES)
    assert "new\\nline/1caf\\xe9.png" in [source.title(i) for i in range(len(source))]
    assert source.decode(0).shape == (3, 16, 16)
    assert all(os.path.exists(str(source.file(i))) for i in range(len(source)))


@pytest.mark.parametrize("end", ["csv", "txt"])
def test_a_list_of_odd_names_is_read(folder: Path, end: str) -> None:
    names = [f"\xe9t\xe9 $x$/{k}caf\xe9.png".encode("latin-1") for k in range(6)]
    lines = [b"path,label", *(name + b",d\xe9j\xe0" for name in names)] if end == "csv" else names
    path = folder / f"list.{end}"
    path.write_bytes(b"\n".join(lines))

    source = open_data(path).train

    assert source.title(0) == "\\xe9t\\xe9 $x$/0caf\\xe9.png"
    assert source.decode(5).shape == (3, 16, 16)
    assert source.classes == (("d\\xe9j\\xe0",) if end == "csv" else ())


def test_a_list_in_another_encoding_than_its_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path\nd\u00e9j\u00e0.png\n".encode("latin-1"))

    with pytest.raises(SelfsightError, match="must be text in UTF-8"):
        open_data(tmp_path / "list.csv")


def test_a_line_of_a_list_is_parted_at_line_breaks_alone(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\u2028b\x0b\x1c.png\r\nc.png\n", newline="")

    source = open_data(tmp_path / "list.txt").train

    assert [source.title(i) for i in range(2)] == ["a\\u2028b\\x0b\\x1c.png", "c.png"]


def test_a_tar_of_odd_names_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in ((LATIN, file.getvalue()), ("caf\udce9.cls", b"a\nb $x$")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    source = open_data(tmp_path / "x.tar").train

    assert source.title(0) == "x.tar/caf\\xe9.png"
    assert source.classes == ("a\\nb $x$",)
    assert source.decode(0).shape == (3, 9, 9)


@pytest.mark.parametrize("kind", [ParquetFile, NpzFile])
def test_a_file_of_embeddings_may_have_any_name(
    tmp_path: Path, kind: type[ParquetFile | NpzFile]
) -> None:
    path = tmp_path / os.fsdecode(b"\xe9\n$.out")

    with kind(path, {"data": escaped(LATIN)}) as file:
        file.add(Rows([escaped(LATIN)], None, None, None, torch.zeros(1, 2)))

    if kind is ParquetFile:
        paths = pq.read_table(io.BytesIO(path.read_bytes())).column("path").to_pylist()
    else:
        paths = np.load(io.BytesIO(path.read_bytes()))["path"].tolist()
    assert paths == ["caf\\xe9.png"]


def test_a_drawing_shows_names_as_they_are_and_not_as_formulas(tmp_path: Path) -> None:
    figure = Figure()
    for k, name in enumerate(ODD):
        figure.text(0, k / len(ODD), name)

    save_figure(figure, tmp_path / "names.png")

    drawn = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    assert "caf\\xe9.png" in drawn
    assert "$x_1$ \\frac$.png" in drawn
    with Image.open(tmp_path / "names.png") as picture:
        assert picture.size[0] > 9


def test_sentences_on_either_stream_write_names_out(capfd: pytest.CaptureFixture[str]) -> None:
    for say in (console(), answers()):
        say.print(f"saved in {LATIN} [red]")

    assert capfd.readouterr() == ("saved in caf\\xe9.png [red]\n",) * 2


def test_an_error_names_a_path_that_is_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", f"{tmp_path}/{LATIN}", "--task", "rotation"]) == 1
    assert "caf\\xe9.png" in capsys.readouterr().err


def test_results_of_photographs_keep_their_names(folder: Path) -> None:
    found = listed([str(folder)])

    assert "new\nline/1caf\udce9" in [one.name for one in found]
    assert all(os.path.exists(one.file) for one in found)
    assert all(escaped(one.title).encode() for one in found)


@pytest.mark.slow  # trains for a few steps
def test_every_verb_goes_through_with_odd_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = folder.parent / os.fsdecode(b"out\xe9 $\n\x1b[31m\x9b$(touch x)")
    monkeypatch.setenv("SELFSIGHT_CACHE", str(home / "cache"))
    monkeypatch.setattr("selfsight.data.pictures.skipping.MOST_SKIPPED", 0.2)
    run = str(home / "run\x1b[31m\n")
    shortly = ["--samples", "16", "--batch", "8", "--precision", "f32", "--track", "mlflow"]
    assert main(["pretrain", str(folder), "--task", "rotation", *shortly, "--out", run]) == 0
    said = capsys.readouterr()
    printed = [said.out, said.err]
    assert "new\\nline/0caf\\xe9.png" in said.err
    assert f"next: {command('probe', run)}" in said.out
    settings = json.loads(Path(run, "settings.json").read_text())
    assert [one["title"] for one in settings["skipped"]] == ["new\\nline/0caf\\xe9.png"]

    for out in ("out.parquet", "out.npz"):
        assert main(["embed", run, "--out", str(home / out)]) == 0
    assert main(["neighbours", run, "--queries", "2", "--count", "2", "--against", run]) == 0
    assert main(["look", run]) == 0
    assert main(["probe", run, "--quick", "--labels", "8"]) == 0
    assert len(selfsight.embed(run, out=home / "again.npz")["skipped"]) == 1

    kept = np.load(io.BytesIO((home / "out.npz").read_bytes()))
    names = pq.read_table(io.BytesIO((home / "out.parquet").read_bytes())).to_pydict()
    assert names["path"] == kept["path"].tolist()
    assert set(names["class"]) == set(SHOWN_CLASSES)

    Path(run, "settings.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    assert main(["probe", run]) == 1
    said = capsys.readouterr()
    printed += [said.out, said.err]
    assert all(unshowable(text) == set() for text in printed)
    written = [path for path in sorted(home.rglob("*")) if path.is_file()]
    assert {path.suffix for path in written} >= {".json", ".csv", ".png", ".parquet", ".npz", ".pt"}
    found = {path.name: unshowable("".join(texts_of(path))) for path in written}
    assert {name: characters for name, characters in found.items() if characters} == {}

"""Tables: lists, arrays, idx and Parquet files of pictures; bytes damaged, and values as well."""

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fuzz.damages import HOSTILE, STRANGE, TEXTS, as_json, damaged, mutated
from fuzz.pictures import encoded

COUNT = 12  # pictures of a table
SHAPES = (
    (COUNT, 8, 8), (COUNT, 8, 8), (COUNT, 8, 8, 3), (COUNT, 8, 8, 3), (COUNT, 3, 8, 8), (COUNT,),
    (), (0, 8, 8), (COUNT, 0, 8), (1,) * 6, (COUNT, 8, 8, 1), (COUNT, 8, 8, 200), (COUNT, 1, 1),
)  # fmt: skip
KINDS = (
    "u1", "u1", "u1", "<u2", ">u2", "i1", "i8", "u8", "f2", "f4", ">f8", "c16", "?", "U4", "S4",
    "M8[s]", "V3",
)  # fmt: skip
FEATURES = {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}  # as Hugging Face has them
KEYS = (("images", "labels"), ("x", "y"), ("train_images", "test_images", "labels"))
STRANGE_KEYS = ("", "../x", "/x", HOSTILE, "images", "a" * 9999)
# Words of a list that are no picture's path.
PLACES = (*TEXTS, "a\0.png", "/dev/zero", "/dev/stdin", "/proc/self/mem", "a.png/b.png", '"', "~")


@cache
def png(seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    return encoded(Image.fromarray(values), "PNG")


def make(place: Path, draw: random.Random) -> str:
    """Lay a table out, damaged in its bytes or made of strange values: -> what to open."""
    kind = draw.choice((_list, _list, _parquet, _parquet, _npz, _npz, _npy, _idx))
    path = place / kind(place, draw)
    if draw.random() < 0.5:
        path.write_bytes(damaged(path.read_bytes(), draw))
    return str(path if draw.random() < 0.9 else place)


def _list(place: Path, draw: random.Random) -> str:
    """A list, some of whose words are strange."""
    for number in range(COUNT):
        (place / f"{number}.png").write_bytes(png())
    mark = draw.choice((",", ",", "\t", ";", " "))
    head = draw.choice((["path", "label"], ["filename", "category", "split"], ["label", "image"]))
    parts = ["train", "train", "test"]
    rows = [[f"{n}.png", str(n % 2), parts[n % 3]][: len(head)] for n in range(COUNT)]
    for _ in range(draw.choice((0, 1, 1, 3, 12))):
        row = draw.choice(rows)
        row[draw.randrange(len(row))] = draw.choice(PLACES)
    if draw.random() < 0.2:
        draw.choice(rows).append(draw.choice(PLACES))
    if draw.random() < 0.1:
        head[draw.randrange(len(head))] = draw.choice(PLACES)
    text = draw.choice(("\n", "\n", "\r\n", "\r")).join(mark.join(row) for row in [head, *rows])
    name = draw.choice(("list.csv", "list.csv", "list.tsv", "list.txt"))
    encoding = draw.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    (place / name).write_bytes(text.encode(encoding, "replace"))
    return name


def _column(draw: random.Random) -> pa.Array:
    """Labels, or what cannot be any."""
    numbers = [draw.randrange(3) for _ in range(COUNT)]
    kinds: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array(numbers),
        lambda: pa.array([None if n == 0 else n for n in numbers]),
        lambda: pa.array([(0.5, -1e308, float("nan"))[n] for n in numbers]),
        lambda: pa.array([(2**63 - 1, -1, -(2**63))[n] for n in numbers]),
        lambda: pa.array([draw.choice(TEXTS).encode(errors="replace").decode() for _ in numbers]),
        lambda: pa.array([[n] * n for n in numbers]),
        lambda: pa.array([{"a": n} for n in numbers]),
        lambda: pa.array([n == 1 for n in numbers]),
        lambda: pa.array(numbers, pa.timestamp("ns")),
        lambda: pa.array(numbers, pa.date64()),
        lambda: pa.array(numbers, pa.decimal128(38, 3)),
        lambda: pa.array(["ab"[n % 2] for n in numbers]).dictionary_encode(),
        lambda: pa.array(numbers, pa.duration("us")),
        lambda: pa.nulls(COUNT),
        lambda: pa.array([b"\xff" * n for n in numbers]),
    )
    return draw.choice(kinds)()


def _pictures(draw: random.Random) -> pa.Array:
    """Encoded pictures, or what cannot be any."""
    data = [damaged(png(), draw) if draw.random() < 0.1 else png() for _ in range(COUNT)]
    kinds: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([{"bytes": one, "path": None} for one in data]),
        lambda: pa.array([{"bytes": one, "path": HOSTILE} for one in data]),
        lambda: pa.array(data),
        lambda: pa.array(data, pa.large_binary()),
        lambda: pa.array([None, *data[1:]]),
        lambda: pa.array([None, *({"bytes": one} for one in data[1:])]),
        lambda: pa.array([{"bytes": None}, *({"bytes": one} for one in data[1:])]),
        lambda: pa.array([[one] for one in data]),
        lambda: pa.array([one[:50].ljust(50, b"\0") for one in data], pa.binary(50)),
        lambda: pa.array(["/etc/passwd"] * COUNT),
        lambda: pa.array([{"bytes": {"bytes": one}} for one in data]),
        lambda: pa.array(data).dictionary_encode(),
        lambda: pa.array(data, pa.binary_view()),
    )
    return draw.choice((kinds[0], kinds[0], *kinds))()


def _parquet(place: Path, draw: random.Random) -> str:
    about: Any = {"info": {"features": FEATURES}}
    if draw.random() < 0.5:
        about = mutated(about, draw)
    spelt = damaged(as_json(about), draw) if draw.random() < 0.2 else as_json(about)
    name = draw.choice(("image", "image", "jpg", HOSTILE, ""))
    columns = {name: _pictures(draw), draw.choice(("label", "class", "target")): _column(draw)}
    if draw.random() < 0.3:
        columns["class"] = _column(draw)
    table = pa.table(columns).replace_schema_metadata({"huggingface": spelt})
    compression = draw.choice(("snappy", "zstd", "gzip", "none", "brotli"))
    pq.write_table(
        table,
        place / "x.parquet",
        compression=compression,
        row_group_size=draw.choice((1, 5, 100)),
        use_dictionary=draw.random() < 0.5,
    )
    return "x.parquet"


def _array(draw: random.Random) -> np.ndarray:
    """Pictures, or an array that cannot be any."""
    shape: Any = draw.choice(SHAPES)
    kind: Any = draw.choice(KINDS)
    if draw.random() < 0.03:
        return np.array([draw.choice(STRANGE) for _ in range(COUNT)], dtype=object)
    if draw.random() < 0.03:
        return np.zeros(COUNT, dtype=[("a", "u1", (8, 8)), ("b", "f4")])
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    values = np.frombuffer(draw.randbytes(size), dtype=kind).reshape(shape)
    if values.dtype.kind == "U":
        values = np.full(shape, draw.choice(TEXTS)[:4])
    return np.asfortranarray(values) if draw.random() < 0.2 else values


def _saved(array: np.ndarray, draw: random.Random) -> bytes:
    """An .npy file, the words of whose header are strange for some."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    data = file.getvalue()
    if draw.random() < 0.6:
        return data
    length = struct.unpack("<H", data[8:10])[0]
    head = data[10 : 10 + length].decode("latin-1")
    shape = str(array.shape)
    new = draw.choice(
        (
            head.replace(shape, "(99999999999, 64, 64)"),
            head.replace(shape, "(-1, 8, 8)"),
            head.replace(shape, f"({'1, ' * 70})"),
            head.replace(shape, "(" * 200 + ")" * 200),
            head.replace(shape, "(2.5, 8, 8)"),
            head.replace(shape, "(True, 8, 8)"),
            head.replace("descr", HOSTILE),
            head.replace("False", "__import__('os').system('touch x')"),
            head.replace("|u1", "|O"),
            head.replace("|u1", "<f8"),
            head.replace("|u1", "|V9999999"),
            head.replace("'|u1'", str(["a"] * 5000)),
        )
    )
    spelt = new.encode("latin-1", "replace")[:65_000]
    return data[:8] + struct.pack("<H", len(spelt)) + spelt + data[10 + length :]


def _npy(place: Path, draw: random.Random) -> str:
    (place / "x.npy").write_bytes(_saved(_array(draw), draw))
    return "x.npy"


def _npz(place: Path, draw: random.Random) -> str:
    strange = draw.choices(STRANGE_KEYS, k=draw.choice((0, 0, 2)))
    keys = (*draw.choice(KEYS), *strange)
    way = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(place / "x.npz", "w", way) as archive:
        for key in dict.fromkeys(keys):
            is_label = "label" in key or key == "y"
            labels = np.array([draw.choice((0, 1, 2)) for _ in range(COUNT)])
            array = labels if is_label and draw.random() < 0.7 else _array(draw)
            data = _saved(array, draw)
            archive.writestr(f"{key}.npy", damaged(data, draw) if draw.random() < 0.1 else data)
    return "x.npz"


def _idx(place: Path, draw: random.Random) -> str:
    sides = draw.choice(((8, 8), (8, 8), (0, 8), (2**31, 2), (2**32 - 1, 2**32 - 1), (1, 64)))
    count = draw.choice((COUNT, COUNT, 0, 2**32 - 1, 1000))
    images = struct.pack(">4L", 0x803, count, *sides) + draw.randbytes(COUNT * 64)
    labels = struct.pack(">2L", 0x801, draw.choice((COUNT, 3, 2**32 - 1))) + draw.randbytes(COUNT)
    packed = draw.random() < 0.5
    end = ".gz" if packed else ""
    for name, data in (("images-idx3", images), ("labels-idx1", labels)):
        if draw.random() < 0.2:
            data = damaged(data, draw)
        data = gzip.compress(data, mtime=0) if packed else data
        (place / f"train-{name}-ubyte{end}").write_bytes(data)
    return f"train-images-idx3-ubyte{end}"

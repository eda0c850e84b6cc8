"""Many pictures: the memory a run needs, and how long it waits for data, by where they are kept.

Pictures are crops of real photographs, made once by a seeded draw into one Parquet file of the
cache folder. Then rotation with the default encoder runs for some steps from a memory map and from
a stream, each in a process of its own, whose peak of memory the system tells. Wanted: under 2 GB
for 200,000 pictures, and at most 5 % of the time waiting.

Run: python benchmarks/many_pictures.py [COUNT [SIDE]]
"""

import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from selfsight.system.machine import cache_folder

COUNT, SIDE = 5_000, 128
STEPS, BATCH, SIZE = 60, 64, 96
GROUP = 2_000  # pictures a row group
QUALITY = 85

PEAK = """
import resource, sys
from selfsight.cli import main

status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def photographs() -> list[Path]:
    """Find the shared photographs."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("SELFSIGHT_DATA", beside)) / "caltech30"
    if not root.is_dir():
        sys.exit(f"no real pictures: SELFSIGHT_DATA is not set and {root} is not there")
    return sorted(root.rglob("*.jpg"))


def made(count: int, side: int) -> Path:
    """Make `count` crops of `side` px, unless they are there: -> their file."""
    path = cache_folder() / "made" / f"many-{count}-{side}.parquet"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    drawn = random.Random(0)
    pictures = [Image.open(p).convert("RGB") for p in photographs()]
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary())]))])
    with pq.ParquetWriter(part, schema, compression="none") as writer:
        for begin in range(0, count, GROUP):
            rows = [
                {"bytes": crop(drawn, pictures, side)}
                for _ in range(begin, min(begin + GROUP, count))
            ]
            writer.write_table(pa.table({"image": rows}, schema=schema))
    part.rename(path)
    return path


def crop(drawn: random.Random, pictures: list[Image.Image], side: int) -> bytes:
    """Cut a random box of a random photograph: -> a JPEG."""
    picture = drawn.choice(pictures)
    length = drawn.randint(min(picture.size) // 2, min(picture.size))
    left = drawn.randint(0, picture.width - length)
    top = drawn.randint(0, picture.height - length)
    cut = picture.resize(
        (side, side), Image.Resampling.BILINEAR, (left, top, left + length, top + length)
    )
    file = io.BytesIO()
    cut.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def measured(data: Path, storage: str) -> dict[str, object]:
    """Train for some steps in a process of its own: -> its peak of memory, and its waiting."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        words = [
            "pretrain", str(data), "--task", "rotation", "--size", str(SIZE),
            "--samples", str(STEPS * BATCH), "--batch", str(BATCH), "--storage", storage,
            "--out", str(out),
        ]  # fmt: skip
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], stdout=subprocess.PIPE, text=True, check=True
        )
        seconds = time.perf_counter() - begun
        with (out / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        plan = json.loads((out / "settings.json").read_text())["plan"]
        return {
            "pictures": plan["samples"],
            "canvas": plan["canvas"],
            "storage": storage,
            "peak_gb": round(int(done.stdout.split()[-1]) * 1024 / 1e9, 2),
            "waiting": round(float(last["waiting"]), 4),
            "pictures_per_second": round(plan["batch"] * plan["steps"] / float(last["seconds"]), 1),
            "seconds_in_all": round(seconds, 1),
        }


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]]
    count, side = [*asked, *(COUNT, SIDE)[len(asked) :]]
    for storage in ("map", "map", "stream", "memory"):
        print(json.dumps(measured(made(count, side), storage)), flush=True)

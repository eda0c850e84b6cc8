"""Decoding: how fast pictures are read, beside the least that reading must do.

Measured:  `read` in pictures a second, on the folder caltech30.
Reference: torchvision's decoder and one antialiased resize in a plain thread pool, over the same
           files on the same processors, into the same tensor. No guard, no EXIF, no promises.

The two take turns, so a busy machine slows both alike; the figure is the ratio of medians.
Run `python benchmarks/decoding.py [FOLDER]`; it prints a table and a line of JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode

from selfsight.data.pictures import open_data, read
from selfsight.data.pictures.forms.walking import walked
from selfsight.system.machine import processors

SIDE = 96
REPEATS = 7


def caltech30() -> Path:
    """Find the folder: $SELFSIGHT_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("SELFSIGHT_DATA", beside)) / "caltech30" / "train"


def reference(folder: Path) -> int:
    """Decode and scale every file, with nothing else done."""
    paths = walked(folder).paths
    store = torch.zeros(len(paths), 3, SIDE, SIDE, dtype=torch.uint8)

    def one(i: int) -> None:
        # the operator behind decode_image, which itself warns at every call that it will go
        encoded = torch.ops.image.read_file(str(folder / paths[i]))
        pixels: Tensor = torch.ops.image.decode_image(encoded, ImageReadMode.RGB.value)
        height, width = pixels.shape[1:]
        scale = SIDE / max(height, width)
        size = (round(height * scale), round(width * scale))
        small = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)
        store[i, :, : size[0], : size[1]] = small[0]

    with ThreadPoolExecutor(processors()) as pool:
        return len(list(pool.map(one, range(len(paths)))))


def ours(folder: Path) -> int:
    """Read the same files with selfsight."""
    return len(read(open_data(folder).train, side=SIDE))


def pictures_per_second(job: Callable[[Path], int], folder: Path) -> float:
    """Time one pass."""
    start = time.perf_counter()
    return job(folder) / (time.perf_counter() - start)


def main() -> None:
    """Measure in turns and print."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else caltech30()
    jobs = {"selfsight read": ours, "decode + resize": reference}
    for job in jobs.values():
        job(folder)  # the files are in the page cache from here on
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(REPEATS):
        for name, job in jobs.items():
            rates[name].append(pictures_per_second(job, folder))
    middle = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{'':16s}  median   least    most   pictures/s, {processors()} processors, side {SIDE}")
    for name, found in rates.items():
        print(f"{name:16s} {middle[name]:7.0f} {min(found):7.0f} {max(found):7.0f}")
    ratio = middle["selfsight read"] / middle["decode + resize"]
    print(json.dumps({"benchmark": "decoding", "ratio": round(ratio, 3), "pictures_per_s": middle}))


if __name__ == "__main__":
    main()

"""Augmentation: the contrastive recipe, beside batched kornia and torchvision's picture by picture.

Every contestant makes the same views of the same stored bytes: crop of 0.08 to 1 of the area (as
SimCLR's paper; ratio 3/4 to 4/3), flip 0.5, colour jitter 0.8 (0.8, 0.8, 0.8, 0.2), grey 0.2, and
from 96 px on blur 0.5 (deviation 0.1 to 2, kernel a tenth of the side). Canvases are those of
`plan.side_of_canvas`. They take turns within one run, and the medians are compared: read the
ratios, for seconds are those of a machine that may be busy. With one thread the processor's own
time counts, which other programs lengthen less than the clock's; with two threads the clock's, and
then a busy machine says nothing: whoever has more short steps waits more often. torchvision gets
PIL pictures, ready made, and ends with a float tensor; kornia gets the bytes as one float batch,
and its faster way of cropping. selfsight's matrix path is not the same arithmetic as theirs;
`exact` is, for colours.

The floor, for one view of side S from a canvas of side H with 3 channels, in float32: bytes that
must be read and written once in main memory are 3 H^2 in and 12 S^2 out; operations are about
8 x 3 S^2 for the bilinear sampling, 2 x 12 S^2 for the colours and, on the half that is blurred,
2 x 2 x 3 S^2 kernel widths. `floor` prints the time of that at the rates this run measures for a
copy and for a matrix product; the gap is what passes through the cache between operations cost.

Also prints how far the sampler is from torchvision's antialiased resize, by reduction.

Run: python benchmarks/augmentation.py [SECONDS]     (each of six races; default 5)
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kornia.augmentation as K
import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms.v2.functional import resized_crop

from selfsight.augment import Augmentation, ColorJitter, augmented
from selfsight.augment.affine import crop_matrix, sample
from selfsight.data.pictures.batch import Images
from selfsight.modalities.pictures import side_of_canvas

SIZES = {32: 512, 96: 256, 224: 64}  # side: pictures a batch
SCALE = (0.08, 1.0)
JITTER = (0.8, 0.8, 0.8, 0.2)
BLUR_FROM = 96
WANTED = {"kornia": {32: 5, 96: 5, 224: 4}, "torchvision": {32: 8, 96: 8, 224: 8}}


def photographs(count: int, side: int) -> Tensor:
    """Cut photographs that come with scikit-image to canvases: -> (count, 3, side, side) uint8."""
    folder = Path(skimage.__file__).parent / "data"
    cuts: list[Tensor] = []
    for name in ("astronaut.png", "coffee.png", "chelsea.png"):
        with Image.open(folder / name) as opened:
            square = opened.convert("RGB").crop((0, 0, 300, 300)).resize((side, side))
        cuts.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
    return torch.stack([cuts[i % len(cuts)] for i in range(count)]).contiguous()


def width_of_kernel(size: int) -> int:
    """Give SimCLR's width of a blur, which is odd."""
    return size // 10 // 2 * 2 + 1


def by_torchvision(canvases: Tensor, size: int) -> Callable[[], Tensor]:
    """Build torchvision's way: one PIL picture after another."""
    steps: list[Any] = [
        T.RandomResizedCrop(size, scale=SCALE),
        T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(*JITTER)], p=0.8),
        T.RandomGrayscale(0.2),
    ]
    if size >= BLUR_FROM:
        steps.append(T.RandomApply([T.GaussianBlur(width_of_kernel(size), (0.1, 2.0))], p=0.5))
    transform: Any = T.Compose([*steps, T.ToTensor()])
    pictures = [Image.fromarray(c.permute(1, 2, 0).numpy()) for c in canvases]
    return lambda: torch.stack([transform(picture) for picture in pictures])


def by_kornia(canvases: Tensor, size: int, cropping: str) -> Callable[[], Tensor]:
    """Build kornia's way: a batch at a time, other draws for every sample."""
    steps: list[Any] = [
        K.RandomResizedCrop((size, size), scale=SCALE, cropping_mode=cropping),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(*JITTER, p=0.8),
        K.RandomGrayscale(p=0.2),
    ]
    if size >= BLUR_FROM:
        width = width_of_kernel(size)
        steps.append(K.RandomGaussianBlur((width, width), (0.1, 2.0), p=0.5))
    sequence = K.AugmentationSequential(*steps, same_on_batch=False, data_keys=["input"])

    def run() -> Tensor:
        with torch.no_grad():
            return sequence(canvases.float() / 255)

    return run


def contestants(canvases: Tensor, size: int) -> dict[str, Callable[[], Tensor]]:
    """Name everybody's way of making a batch of views."""
    batch = Images.of(canvases)
    few = canvases[: len(canvases) // 4]  # the slower ones take fewer pictures a turn
    exact, fewer = Augmentation(colors=ColorJitter(exact=True)), Images.of(few)
    return {
        "selfsight": lambda: augmented(batch, size, Augmentation()),
        "selfsight exact": lambda: augmented(fewer, size, exact),
        "selfsight without blur": lambda: augmented(batch, size, Augmentation().without("blur")),
        "kornia resample": by_kornia(few, size, "resample"),
        "kornia slice": by_kornia(few, size, "slice"),
        "torchvision": by_torchvision(few, size),
    }


def race(ways: dict[str, Callable[[], Tensor]], seconds: float, threads: int) -> dict[str, float]:
    """Let them take turns: -> median pictures a second of each."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates["torchvision"]) < 3:
        for name, way in ways.items():
            begun = clock()
            made = len(way())
            rates[name].append(made / (clock() - begun))
    return {name: statistics.median(several) for name, several in rates.items()}


def floor(size: int, canvas: int) -> float:
    """Give the pictures a second at which memory and arithmetic alone would limit."""
    big, out = torch.rand(8_000_000), torch.empty(8_000_000)
    square = torch.rand(512, 512)
    copies, products = [], []
    for _ in range(5):
        begun = time.perf_counter()
        out.copy_(big)
        copies.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        torch.mm(square, square)
        products.append(time.perf_counter() - begun)
    bytes_a_second = 8 * len(big) / statistics.median(copies)
    operations_a_second = 2 * 512**3 / statistics.median(products)
    blurred = 0.5 * 12 * width_of_kernel(size) if size >= BLUR_FROM else 0
    moved = 3 * canvas**2 + 12 * size**2
    return 1 / (moved / bytes_a_second + (24 + 24 + blurred) * size**2 / operations_a_second)


def errors_of_sampling() -> dict[str, float]:
    """Measure the mean error against torchvision's antialiased resize, by reduction."""
    pictures = photographs(3, 300) / 255
    extent, still = torch.tensor([[300.0, 300.0]] * 3), torch.zeros(3, dtype=torch.bool)
    errors: dict[str, float] = {}
    for reduction in (1, 1.25, 1.5, 2, 3, 4):
        side = round(64 * reduction)
        box = torch.tensor([[10.0, 20.0, side, side]] * 3)
        found = sample(pictures, extent, crop_matrix(box, still, 64), 64)
        expected = resized_crop(pictures, 10, 20, side, side, [64, 64], antialias=True)
        errors[str(reduction)] = round((found - expected).abs().mean().item(), 5)
    return errors


def main() -> None:
    """Print a line a size and thread count, and all of it as JSON."""
    warnings.simplefilter("ignore")  # the peers' remarks on their own future
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows: list[dict[str, Any]] = []
    for size, count in SIZES.items():
        canvas = side_of_canvas(size, 4 * size, SCALE[0])
        canvases = photographs(count, canvas)
        ways = contestants(canvases, size)
        for threads in (1, 2):
            rates = race(ways, seconds, threads)
            peers = {
                "kornia": max(rates["kornia resample"], rates["kornia slice"]),
                "torchvision": rates["torchvision"],
            }
            ratios = {name: rates["selfsight"] / rate for name, rate in peers.items()}
            limit = floor(size, canvas)
            rows.append(
                {"size": size, "canvas": canvas, "threads": threads, "floor": round(limit)}
                | {"rates": {name: round(rate, 1) for name, rate in rates.items()}}
                | {"ratios": {name: round(ratio, 2) for name, ratio in ratios.items()}}
            )
            print(
                f"{size:4} px from {canvas:3}, {threads} threads: {rates['selfsight']:8.0f} "
                f"pictures a second (exact {rates['selfsight exact']:.0f}, without blur "
                f"{rates['selfsight without blur']:.0f}, floor {limit:.0f})  "
                + "  ".join(
                    f"{ratios[peer]:.1f} x {peer} ({rate:.0f}; wanted {WANTED[peer][size]} x)"
                    for peer, rate in peers.items()
                ),
                flush=True,
            )
    errors = errors_of_sampling()
    print(f"mean error of sampling by reduction: {errors}")
    print(json.dumps({"benchmark": "augmentation", "rows": rows, "sampling_errors": errors}))


if __name__ == "__main__":
    main()

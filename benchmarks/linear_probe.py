"""Linear probe beside scikit-learn's logistic regression: time and test accuracy, in one run.

Five layers of an untrained narrow ResNet-18 (timm) on 10,000 CIFAR-10 pictures, each layer pooled
to at most 2,048 numbers. The network's pass is counted to neither side. Ours standardises,
chooses among six strengths on a fifth held out, and refits. scikit-learn's LogisticRegression is at
its default settings (100 steps, at which it warns that it has not converged), on float32 features
that StandardScaler has standardised; with --converged, also at max_iter=1000, which takes minutes a
layer. Wall and processor time are both taken: the second hardly minds other work on the machine.

Run: python benchmarks/linear_probe.py [--converged]   (SELFSIGHT_DATA names the folder of cifar10/)
"""

import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as parquet
import timm
import torch
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from selfsight.data.pictures.scaling import as_float
from selfsight.probes.features import stream_features
from selfsight.probes.linear import LinearProbe

PICTURES = 10_000
CLASSES = 10
BATCH = 512


class Stored(NamedTuple):
    """Pictures (N, C, S, S) as stored, or float in [0, 1], that are no more than that."""

    images: Tensor

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give the pictures of `rows` (B,) in [0, 1]."""
        return as_float(self.images[rows].to(device))


class SmallResNet(nn.Module):
    """ResNet-18, a quarter as wide, for 32-pixel pictures: 3x3 stem of stride 1, no max-pool."""

    layer_names = ("stem", "layer1", "layer2", "layer3", "layer4")

    def __init__(self) -> None:
        super().__init__()
        self.body: Any = timm.create_model("resnet18", num_classes=0, channels=(16, 32, 64, 128))
        self.body.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.body.maxpool = nn.Identity()

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B, 3, S, S) to five maps."""
        maps = self.body.forward_intermediates(images, intermediates_only=True)
        return dict(zip(self.layer_names, maps, strict=True))


def cifar10(part: str, count: int) -> tuple[Tensor, Tensor]:
    """Read the first pictures (N, 3, 32, 32) uint8 and labels (N,) of a part, shuffled by seed."""
    folder = Path(os.environ.get("SELFSIGHT_DATA", Path(__file__).parents[2] / "shared/data"))
    table = parquet.read_table(folder / "cifar10" / f"{part}.parquet", columns=["image", "label"])
    rows = np.random.default_rng(0).permutation(len(table))[:count]
    pictures = table.take(rows).to_pydict()
    decoded = [
        np.asarray(Image.open(io.BytesIO(picture["bytes"])).convert("RGB"))
        for picture in pictures["image"]
    ]
    images = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(pictures["label"])


def features_of(network: SmallResNet, images: Tensor) -> dict[str, Tensor]:
    """Compute every layer's features (N, F)."""
    batches = list(stream_features(network, Stored(images), torch.arange(len(images)), batch=BATCH))
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def ours(x: Tensor, y: Tensor, test: Tensor, held_out: Tensor) -> Tensor:
    """Fit and answer as a stream of batches would."""
    probe = LinearProbe(x.shape[1], CLASSES)
    for chunk in torch.arange(len(x)).split(BATCH):
        probe.add(x[chunk], y[chunk], held_out[chunk])
    probe.solve()
    return probe.predict(test)


def sklearns(x: Tensor, y: Tensor, test: Tensor, steps: int) -> Tensor:
    """Standardise, fit and answer."""
    scaler = StandardScaler()
    regression = LogisticRegression(max_iter=steps).fit(scaler.fit_transform(x.numpy()), y.numpy())
    return torch.from_numpy(regression.predict(scaler.transform(test.numpy())))


def beside(
    x: Tensor, y: Tensor, test: Tensor, test_y: Tensor, steps: Sequence[int]
) -> dict[str, float]:
    """Time every method on one layer: -> seconds and accuracy by method."""
    held_out = torch.arange(len(x)) % 5 == 0
    methods: dict[str, Callable[[], Tensor]] = {"ours": lambda: ours(x, y, test, held_out)}
    for count in steps:
        methods[f"sklearn_{count}"] = partial(sklearns, x, y, test, count)
    row: dict[str, float] = {}
    for name, method in methods.items():
        start, worked = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 100 steps are the default
            answers = method()
        row[f"{name}_seconds"] = time.perf_counter() - start
        row[f"{name}_worked"] = time.process_time() - worked
        row[f"{name}_accuracy"] = float((answers == test_y).double().mean())
    return row


def line(layer: str, features: int, row: dict[str, float], names: Sequence[str]) -> str:
    """Write one layer's row of the table: seconds of processor time, and accuracy."""
    cells = [f"{row[f'{name}_worked']:8.2f} s {row[f'{name}_accuracy']:7.2%}" for name in names]
    return f"{layer:8}{features:9}" + "".join(f"{cell:>19}" for cell in cells)


def summary(rows: list[dict[str, float]], steps: Sequence[int]) -> dict[str, Any]:
    """Add seconds up over layers, and take the differences of accuracy in points."""
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    result: dict[str, Any] = {
        "benchmark": "linear_probe",
        "threads": torch.get_num_threads(),
        "seconds": round(total["ours_seconds"], 2),
    }
    for count in steps:
        name = f"sklearn_{count}"
        differences = [100 * (row["ours_accuracy"] - row[f"{name}_accuracy"]) for row in rows]
        result[name] = {
            "seconds": round(total[f"{name}_seconds"], 2),
            "ratio": round(total[f"{name}_seconds"] / total["ours_seconds"], 2),
            "ratio_processor_time": round(total[f"{name}_worked"] / total["ours_worked"], 2),
            "least_difference_points": round(min(differences), 2),
            "mean_difference_points": round(sum(differences) / len(differences), 2),
        }
    return result


def main() -> None:
    """Time both on every layer; print a table and a line of JSON."""
    steps = (100, 1000) if "--converged" in sys.argv[1:] else (100,)
    names = ("ours", *(f"sklearn_{count}" for count in steps))
    torch.manual_seed(0)
    network = SmallResNet()
    (images, y), (test_images, test_y) = cifar10("train", PICTURES), cifar10("test", PICTURES)
    train, test = features_of(network, images), features_of(network, test_images)
    print(f"{'layer':8}{'features':>9}" + "".join(f"{name:>19}" for name in names), flush=True)
    rows: list[dict[str, float]] = []
    for name, x in train.items():
        rows.append(beside(x, y, test[name], test_y, steps))
        print(line(name, x.shape[1], rows[-1], names), flush=True)
    print(json.dumps(summary(rows, steps)))


if __name__ == "__main__":
    main()

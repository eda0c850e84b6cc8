"""Making: every task of the table about a small encoder, and pictures for it; what tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.data.pictures.scaling import as_float
from selfsight.data.words.batch import Words
from selfsight.encoders import Encoder, build, evaluating
from selfsight.encoders.word_table import TableRecipe, WordTable
from selfsight.modalities.table import modality_called
from selfsight.probes.network import PictureNetwork
from selfsight.tasks.base import Epoch, Facts, Needs, Score, Task
from selfsight.tasks.table import TASKS, load_task, make_task, row_of

SIZE, CANVAS, CLASSES = 16, 18, 4  # sides in pixels; a task that asks for more gets more
WORDS = 40  # of the vocabulary
SAMPLES = 100  # pictures of the data that the tasks are told of
# A training of a moment, as typed behind `selfsight`; --out is still to be said.
PRETRAIN = ["pretrain", "digits", "--task", "rotation", "--encoder", "test_resnet"]
PRETRAIN += ["--samples", "32", "--limit", "40", "--size", "16", "--batch", "8"]


class Stored(NamedTuple):
    """Pictures (N, C, S, S) as stored, or float in [0, 1], that are no more than that."""

    images: Tensor

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give the pictures of `rows` (B,) in [0, 1]."""
        return as_float(self.images[rows].to(device))


class Plain(Task):
    """A task around any network, which is to answer nothing."""

    needs = Needs(batch=Images)

    def forward(self, batch: Images) -> Score:
        return Score(self.encoder(as_float(batch.images)).square().mean(), {})


PICTURE_TASKS = [name for name, row in TASKS.items() if row.modality == "pictures"]


def learns_from_words(name: str) -> bool:
    return row_of(name).modality == "words"


def passages(count: int, length: int = 64) -> Tensor:
    """Make passages (N, T) of words, rarer ones less often, each beside its like: odd by odd."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(
        1 / torch.arange(1.0, WORDS // 2 + 1), count * length, replacement=True, generator=generator
    ).reshape(count, length)
    return 2 * drawn + (torch.arange(length) // 8) % 2


def table_of_words(width: int = 16) -> WordTable:
    """Make a table of the words of `passages`."""
    words = [f"word{number}" for number in range(WORDS)]
    table = TableRecipe.of(words, width).built()
    table.name_words(words, passages(SAMPLES).flatten().bincount(minlength=WORDS) + 1)
    return table


def needs_of(name: str) -> Needs:
    return load_task(name).needs


def photographs(name: str, count: int, channels: int = 3) -> Tensor:
    """Cut tiles (N, C, H, H) out of a photograph, a little larger than a task's crops."""
    if learns_from_words(name):
        return passages(count)
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    side = max(CANVAS, needs_of(name).least_side + 2)
    tiles = pixels.unfold(1, side, side).unfold(2, side, side)
    tiles = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)
    chosen = tiles[:: len(tiles) // count][:count]
    return torch.cat([chosen, chosen], dim=1)[:, :channels]


def made(name: str, *, channels: int = 3, seed: int = 0, **settings: Any) -> Task:
    """Make a task about a small encoder, its settings derived as a run derives them, or given."""
    task_class = load_task(name)
    if learns_from_words(name):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            task = make_task(name, table_of_words(), **settings)
            for part in task.children():  # outputs begin at 0, and then nothing reaches the table
                if isinstance(part, nn.Embedding):
                    nn.init.normal_(part.weight, std=0.1)
        return task
    size = max(SIZE, needs_of(name).least_side)
    facts = Facts(
        samples=SAMPLES, classes=CLASSES, channels=channels, side=size, batch=8, chosen=settings
    )
    settings = task_class.derive(facts) | settings
    small = ("small", {"stem": 16, "widths": (16, 32)})
    architecture, arguments = task_class.encoder_of(settings) or small
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build(architecture, size=size, channels=channels, arguments=arguments)
        task = make_task(name, encoder, size=size, **settings)
    with torch.no_grad():
        task.look_at(batch_of(name, photographs(name, 32, channels)))
    task.before_epoch(Epoch(0, seed, features_of(photographs(name, SAMPLES, channels))))
    return task


def features_of(images: Tensor) -> Callable[[nn.Module], Tensor]:
    """Encode pictures (N, C, H, H) as the training does for a task that looks at all of them."""

    def encoded(network: nn.Module) -> Tensor:
        with torch.no_grad(), evaluating(network):
            return network(as_float(images)).float()

    return encoded


def batch_of(name: str, images: Tensor, *, seed: int = 0) -> Images | LabelledImages | Words:
    """Wrap pictures, or passages, in the kind of batch that a task takes."""
    if learns_from_words(name):
        return Words.of(images, seed=seed)
    if needs_of(name).batch is LabelledImages:
        return LabelledImages.of(images, torch.arange(len(images)) % CLASSES, seed=seed)
    return Images.of(images, seed=seed)


def rows_of(
    batch: Images | LabelledImages | Words, rows: list[int]
) -> Images | LabelledImages | Words:
    """Take some samples of a batch, each with its own index and so its own draws."""
    chosen = torch.tensor(rows)
    draws = type(batch.draws)(batch.draws.seed, batch.draws.epoch, batch.index[chosen])
    fields = {key: value[chosen] for key, value in batch._asdict().items() if key != "draws"}
    return type(batch)(**fields, draws=draws)


def timms(encoder: Encoder, size: int = 16) -> PictureNetwork:
    """Give an encoder as `timm:NAME` is given, which is of no run."""
    return PictureNetwork(
        name="timm:test_resnet",
        encoder=encoder,
        size=size,
        modality=modality_called("pictures"),
        sample=None,
        seed=0,
        data=None,
        pretext=None,
        run=None,
        device="cpu",
    )

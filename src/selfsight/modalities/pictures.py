"""Pictures: every form of them on canvases of one size, each task's views cut from these."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from selfsight import encoders
from selfsight.augment.views import centre_view
from selfsight.data.batches import some_rows
from selfsight.data.pictures import Pictures, Streamed, Survey, Tiles, open_data, survey
from selfsight.data.pictures.batch import Images
from selfsight.data.pictures.canvases import Form
from selfsight.data.pictures.forms.opening import open_called
from selfsight.data.pictures.likeness import likeness_warning
from selfsight.data.pictures.reading_progress import advice_on_waiting, read_with_progress
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.samples import Storage
from selfsight.encoders import BaseEncoder, Encoder
from selfsight.encoders.encoder import MOST_CHANNELS, MOST_SIDE
from selfsight.errors import UsageError
from selfsight.modalities.base import AskedBy, Modality, Planned, Reading, SamplePlan
from selfsight.settings import Pretrain
from selfsight.system.machine import cache_folder, size_in_words
from selfsight.system.paths import TIMM
from selfsight.tasks.base import Needs

PROCESSOR_SIDES, GPU_SIDES = (32, 96), (32, 224)
SMALL_UP_TO = 128  # the small encoder's largest pictures, in pixels
LOOKED_AT = 1000  # pictures, for their mean and deviation


@dataclass(frozen=True)
class PicturePlan(SamplePlan):
    """What a run's plan says of its pictures.

    Attributes:
        channels: Channels of each.
        canvas: Side of the square they are kept on, in pixels.
        size: Side of what the encoder sees, in pixels.
        tile: Side of the tiles that pictures are cut into, in pixels; None for whole ones.
        bits: Depth of a sample, 8 or 16.
    """

    RANGES: ClassVar = {
        "channels": (1, MOST_CHANNELS),
        "canvas": (1, MOST_SIDE),
        "size": (1, MOST_SIDE),
        "tile": (1, MOST_SIDE),
    }

    channels: int
    canvas: int
    size: int
    tile: int | None = None
    bits: int = 8

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "PicturePlan":
        """Read back what `to_json` gave.

        Raises:
            ValueError: With the first value that no such plan has.
        """
        plan = super().from_json(values)
        if plan.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16, got {plan.bits}")
        return plan


class OfPictures(Modality[PictureSource, Pictures, PicturePlan, Encoder]):
    """Pictures, scaled to fit canvases; a task cuts its views from these on the device."""

    name = "pictures"
    unit = "pictures"
    sample = PicturePlan
    batch = Images
    references = (
        "selfsight.probes.references:pixels",
        "selfsight.probes.references:patch_dictionary",
    )
    remedy = "give a larger --size or another --encoder"
    more = ", or learn from crops of one with photo:FILE"

    def open(self, data: str) -> PictureParts:
        """List pictures in any form."""
        return open_data(data)

    def open_called(self, name: str) -> PictureParts:
        """List the pictures of a data set by its name."""
        return open_called(name)

    def cut(self, source: PictureSource, by: Any) -> PictureSource:
        """Cut pictures into tiles, where that was asked for."""
        return source if by.tile is None else Tiles(source, by.tile)

    def planned(
        self,
        source: PictureSource,
        settings: Pretrain,
        needs: Needs,
        asked_by: AskedBy,
        start: BaseEncoder | None,
        device: str,
    ) -> Planned[PicturePlan]:
        """Choose the side of what an encoder sees, and of the canvases, by some headers."""
        known = survey(source)
        most = max(needs.wanted_side or 0, most_side(device))
        size = side_of_pictures(settings.size, known.longer_side, device, most=most)
        size = settings.size or _side_that_fits(settings, start, size, device)
        if size < needs.least_side:
            asker = asked_by("least_side")
            raise UsageError(f"{asker} needs --size {needs.least_side} or more, got {size}")
        canvas = side_of_canvas(size, known.longest, needs.least_scale)
        return Planned(
            PicturePlan(known.channels, canvas, size, settings.tile, known.bits),
            _told_of_sizes(known),
        )

    def read(
        self, source: PictureSource, sample: PicturePlan, how: Reading, known: Any = None
    ) -> Pictures:
        """Decode pictures onto canvases, in memory, on the disk, or as they are needed."""
        return read_with_progress(
            source,
            side=sample.canvas,
            limit=how.limit,
            storage=how.storage,
            steady=how.steady,
            processes=how.processes,
            listed_in=how.listed_in,
        )

    def read_frozen(
        self, source: PictureSource, sample: PicturePlan, encoder: Encoder, listed_in: str
    ) -> Pictures:
        """Decode the largest centred square of pictures, at the side that the encoder sees."""
        return read_with_progress(
            source,
            side=sample.size,
            fit="square",
            channels=encoder.recipe.channels,
            steady=True,
            listed_in=listed_in,
        )

    def read_more(self, source: PictureSource, sample: PicturePlan, listed_in: str) -> Pictures:
        """Decode further pictures onto canvases of the run's side, with its channels."""
        return read_with_progress(
            source,
            side=sample.canvas,
            channels=sample.channels,
            steady=True,
            listed_in=listed_in,
        )

    def completed(self, sample: PicturePlan, samples: Pictures) -> PicturePlan:
        """Take channels and depth from what was read."""
        return replace(sample, channels=samples.images.shape[1], bits=samples.bits)

    def facts(self, sample: PicturePlan) -> dict[str, Any]:
        """Give channels and the side of crops."""
        return {"channels": sample.channels, "side": sample.size}

    def task_arguments(self, sample: PicturePlan) -> dict[str, Any]:
        """Give the side of crops."""
        return {"size": sample.size}

    def encoder(
        self,
        settings: Pretrain,
        sample: PicturePlan,
        samples: Pictures,
        start: BaseEncoder | None,
        device: str,
        *,
        of_task: tuple[str, dict[str, Any]] | None = None,
    ) -> tuple[Encoder, tuple[str, ...]]:
        """Build any timm network; what timm's mean and deviation do not suit is measured."""
        own: dict[str, Any] = {}
        if sample.bits > 8 or sample.channels not in (1, 3):
            rows = some_rows(len(samples), LOOKED_AT)
            own["mean"], own["deviation"] = samples.statistics(rows)
        size, channels = sample.size, sample.channels
        with torch.random.fork_rng():
            if start is not None:
                return _begun(settings, start, sample)
            if settings.start is not None:
                name = settings.start.removeprefix(TIMM)
                encoder = encoders.build(name, size=size, channels=channels, pretrained=True, **own)
                return encoder, _told_of_channels(encoders.usual_channels(name), channels)
            if of_task is not None:
                name, own["arguments"] = of_task
            else:
                name = encoder_name(settings.encoder, size, device)
            return encoders.build(name, size=size, channels=channels, **own), ()

    def take_over_weights(self, start: BaseEncoder, encoder: Encoder) -> None:
        """Take over weights, the first convolution adapted to the channels."""
        begun = encoders.adapted(of_pictures(start), encoder.recipe.channels)
        encoder.load_state_dict(begun.state_dict())

    def notes(self, samples: Pictures) -> tuple[str, ...]:
        """Say what streaming can give."""
        if not isinstance(samples.images, Streamed):
            return ()
        pace = samples.images.pace()
        disk = (
            f", {pace.waiting:.0%} of that time waiting for the disk" if pace.waiting > 0.05 else ""
        )
        return (f"streamed: a core decodes {pace.pictures:,.0f} pictures a second{disk}",)

    def advice_on_waiting(self, samples: Pictures, share: float) -> str | None:
        """Say what held a training up: the disk, decoding or memory."""
        return advice_on_waiting(samples, share)

    def seen(
        self,
        samples: Pictures,
        rows: Tensor,
        sample: PicturePlan,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Give the largest centred square of pictures: -> (B, C, S, S) in [0, 1]."""
        images, extent, _ = samples.taken(rows)
        return centre_view(images.to(device), extent.to(device), sample.size)

    def alike(self, samples: Pictures, inputs: Tensor) -> str | None:
        """Say that pictures are all of one plain colour, or copies of one."""
        return likeness_warning(inputs, bits=samples.bits)

    def data_line(self, sample: PicturePlan, *, samples: int, storage: Storage) -> str:
        """Say how many pictures of which kind are kept where."""
        store = size_in_words(
            samples * Form(sample.channels, sample.bits).bytes_each(sample.canvas)
        )
        kept = {
            "memory": f"{store} in memory",
            "map": f"{store} on a memory map in {cache_folder()}",
            "stream": "decoded anew for every step",
        }
        pictures = "pictures" if sample.tile is None else f"tiles of {sample.tile} px"
        depth = "" if sample.bits == 8 else f" of {sample.bits} bits"
        return (
            f"{samples:,} {pictures}, {sample.channels} channel"
            f"{'s' if sample.channels > 1 else ''}{depth}, on canvases of {sample.canvas} px "
            f"({kept[storage]})"
        )

    def task_note(self, sample: PicturePlan) -> str:
        """Say the side of a task's views."""
        return f" on {sample.size} px"


def of_pictures(encoder: BaseEncoder) -> Encoder:
    """Take an encoder as one of pictures.

    Raises:
        UsageError: If it is of something else.
    """
    if not isinstance(encoder, Encoder):
        raise UsageError(
            f"this is asked of an encoder of pictures, and {encoder.recipe.name} is of "
            f"{encoder.recipe.kind}"
        )
    return encoder


def of_picture_plan(sample: SamplePlan) -> PicturePlan:
    """Take a modality's part of a plan as that of pictures.

    Raises:
        UsageError: If it is of something else.
    """
    if not isinstance(sample, PicturePlan):
        raise UsageError("this is asked of runs that learned from pictures, and this one did not")
    return sample


def most_side(device: str) -> int:
    """Tell the greatest side that is chosen without being asked for, in pixels."""
    return PROCESSOR_SIDES[1] if device == "cpu" else GPU_SIDES[1]


def side_of_pictures(
    asked: int | None, longer_side: int, device: str, *, most: int | None = None
) -> int:
    """Choose the side the encoder sees: the median longer side, rounded to 16, within limits."""
    if asked is not None:
        return asked
    least, usual = PROCESSOR_SIDES if device == "cpu" else GPU_SIDES
    most = most or usual
    return min(max(round(longer_side / 16) * 16, least), most)


def side_of_canvas(size: int, longest: int, least_scale: float) -> int:
    """Choose the side pictures are kept at, so that crops are rarely magnified over twofold.

    The smallest crop of a picture that fills its canvas has the side sqrt(least_scale) of it.

    Raises:
        UsageError: If least_scale is outside its range.
    """
    if not 0 < least_scale <= 1:
        raise UsageError(f"least_scale must be above 0 and at most 1, got {least_scale}")
    wanted = math.ceil(size / (2 * math.sqrt(least_scale)))
    return min(max(wanted, size), max(longest, 1))


def encoder_name(asked: str | None, size: int, device: str) -> str:
    """Choose the encoder: the small one for small pictures on a processor."""
    if asked is not None:
        return asked
    return encoders.DEFAULT if device == "cpu" and size <= SMALL_UP_TO else "resnet18"


def _side_that_fits(settings: Pretrain, start: BaseEncoder | None, side: int, device: str) -> int:
    """Choose the side nearest to the data's that the encoder takes."""
    if start is not None:
        recipe = of_pictures(start).recipe
        return recipe.arguments.get("img_size") or encoders.fitting_size(recipe.name, side)
    if settings.start is not None:
        return encoders.fitting_size(settings.start.removeprefix(TIMM), side)
    return encoders.fitting_size(encoder_name(settings.encoder, side, device), side)


def _begun(
    settings: Pretrain, start: BaseEncoder, sample: PicturePlan
) -> tuple[Encoder, tuple[str, ...]]:
    """Carry a run's encoder over to other pictures: -> it, notes.

    Raises:
        UsageError: If another was asked for, or it takes pictures of another side only.
    """
    recipe = of_pictures(start).recipe
    asked = settings.encoder
    if asked is not None and encoders.OWN.get(asked, asked) != recipe.name:
        raise UsageError(
            f"--from {settings.start} brings encoder {recipe.name!r}; leave --encoder out"
        )
    if recipe.arguments.get("img_size") not in (None, sample.size):
        raise UsageError(
            f"--from {settings.start} takes pictures of {recipe.size} px only; give "
            f"--size {recipe.size}"
        )
    notes = _told_of_channels(recipe.channels, sample.channels)
    return encoders.adapted(of_pictures(start), sample.channels), notes


def _told_of_channels(before: int, channels: int) -> tuple[str, ...]:
    """Say that weights of a network for other channels are carried over."""
    if before == channels:
        return ()
    plural = "s" if channels > 1 else ""
    return (f"first convolution adapted from {before} to {channels} channel{plural}",)


def _told_of_sizes(known: Survey) -> tuple[str, ...]:
    """Say that pictures of several sizes are scaled."""
    if known.shortest == known.longest:
        return ()
    sides = f"{known.shortest} to {known.longest} px"
    return (f"pictures of mixed sizes, the longer side {sides}, are scaled to fit",)

"""Subject: a network that is asked something, as the user names it, and what it says of pictures.

A run brings its encoder, the size of its pictures, its seed and its data; `timm:NAME` brings timm's
weights at the size they were trained on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight import encoders
from selfsight.data.pictures import open_data, survey
from selfsight.data.pictures.canvases import Canvases
from selfsight.data.pictures.scaling import as_float, convertible
from selfsight.data.pictures.source import PictureSource
from selfsight.data.pictures.storing import HEADERS_FOR_FORM
from selfsight.data.source import Parts
from selfsight.distributed.engine import resolve_device
from selfsight.encoders import Encoder, evaluating
from selfsight.encoders.finite import refuse_non_finite_features
from selfsight.errors import SelfsightError, UsageError, unknown_name
from selfsight.probes.features import Network, Pixels, pooled
from selfsight.system import atomic
from selfsight.system.paths import TIMM
from selfsight.system.progress import console
from selfsight.training.origin import opened_origin
from selfsight.training.plan import Plan
from selfsight.training.prepare import taught_by_labels
from selfsight.training.run import OUT, RESULTS, Run, run_of

BATCH = 256  # pictures


@dataclass(frozen=True)
class Subject:
    """A network that is asked something.

    Attributes:
        name: As it was asked.
        encoder: The network.
        size: Side of the pictures it gets, in pixels.
        seed: Of its first weights.
        data: What it was trained on, as it is found from the folder we are in, if known.
        pretext: The record of its training, if there is one.
        run: The run it is of, None for timm's networks.
        device: Where to compute.
    """

    name: str
    encoder: Encoder
    size: int
    seed: int
    data: str | None
    pretext: dict[str, Any] | None
    run: Run | None
    device: str

    @property
    def knows_labels(self) -> bool:
        """Whether labels may have taught it, as far as its run says."""
        return self.run is not None and taught_by_labels(Plan.of(self.run))

    def parts(self, data: str | None, needs: str) -> Parts:
        """Open pictures to ask it about.

        Args:
            data: As asked; None for what it was trained on, wherever that lies.
            needs: Who needs them and which, as a sentence begins: "embed RUN needs DATA: pictures".

        Raises:
            UsageError: If none are asked for, and it was trained on nothing that is known.
            SelfsightError: If they are not there, or others are in the place of those it was
                trained on.
        """
        if data is not None:
            return open_data(data)
        if self.run is None:
            raise UsageError(needs)
        return opened_origin(Plan.of(self.run), self.run.path)

    @property
    def channels(self) -> int:
        """Channels of the pictures it takes."""
        return self.encoder.recipe.channels

    def seeing(self, source: PictureSource, *others: PictureSource | None) -> "Subject":
        """Get ready for the pictures of a source, as `taking` does, and of others like them.

        Raises:
            SelfsightError: If there is no way from the channels of one of them to the network's.
        """
        ready = self.taking(_channels(source), source.name)
        for other in filter(None, others):
            name = other.title(0) if other.name == "." else other.name  # files asked for one by one
            ready._check(_channels(other), name)
        return ready

    def taking(self, channels: int, name: str) -> "Subject":
        """Get ready for pictures of so many channels.

        Grey and colour are turned into each other when they are read. For any other number timm's
        weights are carried over; a run's are not: what it learned from was other data.

        Args:
            channels: Of the pictures, 1 or more.
            name: Where they come from.

        Raises:
            SelfsightError: If there is no way from these channels to the run's.
            UsageError: If timm's weights cannot be carried over.
        """
        if self.run is None and not convertible(channels, self.channels):
            console().print(
                f"{self.name}: first convolution adapted from {self.channels} to {channels} "
                "channels"
            )
            return replace(self, encoder=encoders.adapted(self.encoder, channels))
        self._check(channels, name)
        return self

    def _check(self, channels: int, name: str) -> None:
        if not convertible(channels, self.channels):
            plural = "s" if self.channels > 1 else ""
            raise SelfsightError(
                f"{self.name} takes pictures of {self.channels} channel{plural}, and those of "
                f"{name} have {channels}. Give pictures of {self.channels}, or learn from these, "
                "from a run's weights with pretrain --from"
            )

    def results(self, out: str | None = None) -> Path:
        """Make the folder for results: `out` where asked, RUN/results, or ./results.

        Raises:
            SelfsightError: If nothing can be written there.
        """
        if out is None and self.run is not None:
            return atomic.subfolder(self.run.path, RESULTS, another=OUT)
        return atomic.folder(Path(out or RESULTS), another=OUT)


def subject_of(
    name: str, *, size: int | None = None, seed: int = 0, device: str = "auto"
) -> Subject:
    """Load what the user named.

    Args:
        name: A run's path, that of one of several encoders in it, or "timm:NAME".
        size: Side of the pictures it is to see; by default the run's, or timm's own.
        seed: Of a fresh network of the same kind, where no run says one.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: If timm has no such network, or the network takes another size only.
        SelfsightError: If there is no such run, or weights are missing or damaged.
    """
    where = resolve_device(device)
    if name.startswith(TIMM):
        plain = name.removeprefix(TIMM)
        side = size or encoders.usual_size(plain)
        encoder = encoders.build(plain, size=side, pretrained=True)
        subject = Subject(name, encoder, side, seed, None, None, None, where)
    else:
        run, part = run_of(name)
        of = Plan.of(run)
        encoder, pretext = run.encoder(part), run.result("pretrain")
        size, data = size or of.size, of.data_found
        subject = Subject(name, encoder, size, of.seed, data, pretext, run, where)
    fixed = subject.encoder.recipe.arguments.get("img_size")
    if fixed not in (None, subject.size):
        raise UsageError(f"{name} takes pictures of {fixed} px only; leave --size out")
    return subject


def _channels(source: PictureSource) -> int:
    """Tell the channels of most pictures of a source by some headers."""
    return survey(source, HEADERS_FOR_FORM).channels


def check_layer(encoder: Encoder, layer: str | None) -> None:
    """Refuse a layer that the encoder does not name.

    Raises:
        UsageError: With the layers there are, all of them.
    """
    if layer is not None and layer not in encoder.layer_names:
        error = unknown_name("layer", layer, encoder.layer_names)
        raise UsageError(f"{error}; its layers: {', '.join(encoder.layer_names)}")


def encoded(
    network: Encoder | Pixels,
    images: Tensor | Canvases,
    rows: Tensor,
    *,
    size: int,
    layer: str | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
    device: str = "cpu",
    batch: int = BATCH,
) -> Iterator[Tensor]:
    """Yield what a frozen network says of pictures, one vector each, batch by batch.

    Args:
        network: The network; moved to `device`.
        images: Stored pictures, whole numbers or floats in [0, 1].
        rows: (M,) int64, which pictures, and in which order.
        size: Side S of what the network sees, in pixels; others are scaled by the antialiased
            bilinear filter.
        layer: A named layer, averaged over its map; None for the network's own pooled features.
        change: Applied to the pictures (B, C, S, S) in [0, 1] before the network sees them.
        device: Where to compute.
        batch: Pictures at a time.

    Yields:
        (B, D) float32 on the processor.

    Raises:
        SelfsightError: If a feature is NaN or infinite.
    """
    network.to(device)
    with evaluating(network):
        for chunk in rows.split(batch):
            pictures = seen(images, chunk, size, device=device)
            yield _said(network, change(pictures) if change else pictures, layer)


@torch.inference_mode()
def _said(network: Encoder | Pixels, pictures: Tensor, layer: str | None) -> Tensor:
    """Run one batch (B, C, S, S): -> (B, D) float32 on the processor."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    if layer is None:
        said = network(pictures).float()
    else:
        whole: Network = network
        said = pooled(whole.layers(pictures)[layer], most=1)
    refuse_non_finite_features({layer or "pooled": said})
    return said.cpu()


def seen(images: Tensor | Canvases, rows: Tensor, size: int, *, device: str = "cpu") -> Tensor:
    """Bring stored pictures to what a network sees: -> (B, C, size, size) float32 in [0, 1]."""
    pictures = as_float(images[rows].to(device))
    if pictures.shape[-1] == size:
        return pictures
    scaled = F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    return scaled.clamp(0, 1)

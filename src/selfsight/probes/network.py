"""Network: a trained network as the user names it, with all that is known of it.

A run brings its encoder, the size of its samples, its seed and its data; `timm:NAME` brings timm's
weights at the size they were trained on.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from selfsight import encoders
from selfsight.data.pictures import survey
from selfsight.data.pictures.scaling import SQUARE_VIEW, convertible
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.pictures.storing import HEADERS_FOR_FORM, fitting
from selfsight.data.samples import Samples
from selfsight.data.source import Parts, Source
from selfsight.distributed.engine import resolve_device
from selfsight.encoders import BaseEncoder, Encoder
from selfsight.encoders.base import PICTURES
from selfsight.errors import SelfsightError, UsageError
from selfsight.modalities.base import Modality, SamplePlan
from selfsight.modalities.pictures import PicturePlan
from selfsight.modalities.table import modality_called
from selfsight.probes.sampling import choose_labelled
from selfsight.system import atomic
from selfsight.system.paths import TIMM
from selfsight.system.progress import console
from selfsight.training.draft import taught_by_labels
from selfsight.training.origin import opened_origin
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, RESULTS, Run, run_of

LISTED_IN = "the record"  # where the user finds what was skipped


@dataclass(frozen=True, kw_only=True)
class NamedNetwork:
    """A trained network that the user has named.

    Attributes:
        name: The name that the user gave.
        encoder: The network.
        modality: What it was trained on.
        sample: What its run planned for each sample; None of timm's networks.
        seed: Seed of its initial weights.
        data: What it was trained on, as a path from the current folder, if known.
        pretext: The record of its training, if there is one.
        run: Its run; None for timm's networks.
        device: Where to compute.
    """

    name: str
    encoder: BaseEncoder
    modality: Modality[Any, Any, Any, Any]
    sample: SamplePlan | None
    seed: int
    data: str | None
    pretext: dict[str, Any] | None
    run: Run | None
    device: str

    @property
    def knows_labels(self) -> bool:
        """Whether it may have been trained on labels, according to its run."""
        return self.run is not None and taught_by_labels(Plan.of(self.run))

    def parts(self, data: str | None, needs: str) -> Parts[Any]:
        """Open samples on which to test it.

        Args:
            data: As asked; None for what it was trained on, wherever that lies.
            needs: The sentence that is said if none are named, such as "embed RUN needs DATA:
                pictures".

        Raises:
            UsageError: If none are asked for, and it was trained on nothing that is known.
            SelfsightError: If they are not there, or others are in the place of those it was
                trained on.
        """
        if data is not None:
            return self.modality.open(data)
        if self.run is None:
            raise UsageError(needs)
        return opened_origin(Plan.of(self.run), self.run.path)

    def seeing(self, source: Source, *others: Source | None) -> Self:
        """Check that it takes the samples of sources, and adapt it where it can be."""
        return self

    def read(self, source: Source, most: int | None = None) -> Samples:
        """Read samples as the network sees them, to be gone through several times.

        Args:
            source: The samples.
            most: How many are enough, where they do not all fit into memory.
        """
        return self.modality.read_frozen(source, self.sample, self.encoder, LISTED_IN)

    def about(self) -> dict[str, Any]:
        """Say for a record how the network sees samples."""
        return {}

    def results(self, out: str | None = None) -> Path:
        """Make the folder for results: `out` where asked, RUN/results, or ./results.

        Raises:
            SelfsightError: If nothing can be written there.
        """
        if out is None and self.run is not None:
            return atomic.subfolder(self.run.path, RESULTS, another=OUT)
        return atomic.folder(Path(out or RESULTS), another=OUT)


@dataclass(frozen=True, kw_only=True)
class PictureNetwork(NamedNetwork):
    """A trained network that takes pictures.

    Attributes:
        size: Side of the pictures it gets, in pixels.
    """

    encoder: Encoder
    size: int

    def parts(self, data: str | None, needs: str) -> PictureParts:
        """Open pictures on which to test it."""
        return super().parts(data, needs)

    @property
    def channels(self) -> int:
        """Channels of the pictures it takes."""
        return self.encoder.recipe.channels

    def seeing(self, source: Source, *others: Source | None) -> Self:
        """Check that it takes the pictures of sources, and adapt it as `taking` does.

        Raises:
            SelfsightError: If the channels of one of them cannot be converted to the network's.
        """
        ready = self.taking(_channels(source), source.name)
        for other in filter(None, others):
            name = other.title(0) if other.name == "." else other.name  # files asked for one by one
            ready._check(_channels(other), name)
        return ready

    def taking(self, channels: int, name: str) -> Self:
        """Give a network that takes pictures of a number of channels.

        Grey and colour pictures are converted into each other when they are read. For any other
        number of channels, timm's weights are adapted; a run's are not, since it learned from other
        data.

        Args:
            channels: Of the pictures, 1 or more.
            name: Where they come from.

        Raises:
            SelfsightError: If these channels cannot be converted to the run's.
            UsageError: If timm's weights cannot be adapted.
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

    def read(self, source: Source, most: int | None = None) -> Samples:
        """Read the largest centred square of pictures at the network's size."""
        pictures = cast(PictureSource, source)
        fits = fitting(len(pictures) * self.channels * self.size**2 * 2) == "memory"
        if not fits and most is not None and source.labels is not None and most < len(source):
            most = max(most, len(source.classes))
            rows, _ = choose_labelled(source.labels, most, seed=0, draw=0)
            pictures = pictures.subset(rows.sort().values)
        seen = PicturePlan(self.channels, canvas=self.size, size=self.size)
        return self.modality.read_frozen(pictures, seen, self.encoder, LISTED_IN)

    def about(self) -> dict[str, Any]:
        """Say the side and the view of pictures."""
        return {"size": self.size, "view": SQUARE_VIEW}


def named_network(
    name: str, *, size: int | None = None, seed: int = 0, device: str = "auto"
) -> NamedNetwork:
    """Load what the user named, whatever it was trained on.

    Args:
        name: A run's path, that of one of several encoders in it, or "timm:NAME".
        size: Side of its input, in pixels; by default the run's, or timm's own.
        seed: Seed of an untrained network of the same kind, where there is no run that has one.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: If timm has no such network, or the network takes another size only.
        SelfsightError: If there is no such run, or weights are missing or damaged.
    """
    where = resolve_device(device)
    if name.startswith(TIMM):
        plain = name.removeprefix(TIMM)
        side = size or encoders.usual_size(plain)
        network = PictureNetwork(
            name=name,
            encoder=encoders.build(plain, size=side, pretrained=True),
            size=side,
            modality=modality_called(PICTURES),
            sample=None,
            seed=seed,
            data=None,
            pretext=None,
            run=None,
            device=where,
        )
        return _of_its_size(network)
    run, part = run_of(name)
    of = Plan.of(run)
    known: dict[str, Any] = {
        "name": name,
        "encoder": run.encoder(part),
        "modality": of.modality,
        "sample": of.sample,
        "seed": of.seed,
        "data": of.data_found,
        "pretext": run.result("pretrain"),
        "run": run,
        "device": where,
    }
    if isinstance(of.sample, PicturePlan):
        return _of_its_size(PictureNetwork(**known, size=size or of.sample.size))
    if size is not None:
        raise UsageError(
            f"--size is of pictures, and {name} takes {of.modality.unit}; leave it out"
        )
    return NamedNetwork(**known)


def _of_its_size(network: PictureNetwork) -> PictureNetwork:
    """Refuse a size that a network does not take.

    Raises:
        UsageError: With the one that it takes.
    """
    fixed = network.encoder.recipe.arguments.get("img_size")
    if fixed not in (None, network.size):
        raise UsageError(f"{network.name} takes pictures of {fixed} px only; leave --size out")
    return network


def picture_network(
    name: str, *, size: int | None = None, seed: int = 0, device: str = "auto"
) -> PictureNetwork:
    """Load what the user named, which must take pictures; see `named_network`.

    Raises:
        UsageError: If it takes something else.
    """
    network = named_network(name, size=size, seed=seed, device=device)
    if not isinstance(network, PictureNetwork):
        raise UsageError(
            f"this is asked of networks that take pictures, and {name} takes "
            f"{network.modality.unit}; give a run on pictures"
        )
    return network


def _channels(source: Source) -> int:
    """Find the number of channels of most pictures of a source, by some headers."""
    return survey(cast(PictureSource, source), HEADERS_FOR_FORM).channels

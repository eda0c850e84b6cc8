"""Probing: the verb that asks every layer of an encoder what it knows.

Beside the trained network stand the same one untrained, the raw pixels and a dictionary of patches
that was fitted without gradients, probed alike on the same labelled pictures.
"""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.table import Table
from torch import Tensor

from selfsight.data.batches import some_rows
from selfsight.data.pictures import Pictures, open_data
from selfsight.data.pictures.collection import numbered_by_content
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.pictures.scaling import SQUARE_VIEW
from selfsight.data.pictures.storing import fitting
from selfsight.data.source import Parts, Source, labels_of, require_same_classes, same_classes
from selfsight.data.splitting import FOLDS, folds_of, split
from selfsight.errors import SelfsightError
from selfsight.probes import advice
from selfsight.probes.features import LayeredNetwork, Pixels
from selfsight.probes.measure import Answers, Kind, measure
from selfsight.probes.network import NamedNetwork, named_network
from selfsight.probes.overlap import (
    alike_warning,
    both_parts_sentence,
    count_seen,
    in_both,
    seen_sentence,
)
from selfsight.probes.patch_baseline import REVISION, kept_dictionary
from selfsight.probes.record import result_record
from selfsight.probes.sampling import choose_labelled
from selfsight.probes.untrained import (
    CALIBRATED_ON,
    final_features,
    kept_answers,
    untrained_encoder,
    untrained_seeds,
)
from selfsight.probes.verdict import Shape, Solved, in_percent, judge_unlabelled
from selfsight.settings import Probe
from selfsight.system import atomic, machine
from selfsight.system.progress import Bar, answers, console
from selfsight.system.validation import read_record
from selfsight.tasks.patch_dictionary import PatchesAlike
from selfsight.training.run import ENCODER_FILE, OUT, Run

DRAWS = 3
UNLABELLED_JUDGED = 1000  # pictures
FEW_TESTED = 2000  # pictures; where a fifth has fewer, every picture is tested, in folds


def probe(
    run: str | Path | Run,
    data: str | None = None,
    *,
    probe: str | Sequence[str] = (),
    **options: Any,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Ask every layer of an encoder what it knows.

    Args:
        run: A run, its path, or "timm:NAME".
        data: Labelled pictures; by default what the run was trained on.
        probe: "linear" or "knn", or several; by default "linear".
        **options: The verb's flags by name, `test` and `labels` for two.

    Returns:
        The record, or a list of them where several probes were asked.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    probes = (probe,) if isinstance(probe, str) else tuple(probe)
    place = str(run.path) if isinstance(run, Run) else str(run)
    return probe_as(Probe(run=place, data=data, probe=probes, **options))


def probe_as(settings: Probe) -> dict[str, Any] | list[dict[str, Any]]:
    """Probe as the settings say; see `probe`."""
    network = named_network(
        settings.run, size=settings.size, seed=settings.seed, device=settings.device
    )
    parts = _sources(settings, network)
    network = network.seeing(parts.train, parts.test)
    out = network.results(settings.out)
    train, test = _pictures(parts, settings, network)
    names = settings.probe or ("linear",)
    of_pictures = alike_warning(train)
    if train.labels is None:
        records = [_unlabelled(name, network, train, of_pictures) for name in names]
    else:
        if of_pictures is not None and test is None:  # copies cannot be dealt into folds
            raise SelfsightError(f"{of_pictures} Give pictures that differ from each other")
        exam = _Exam.of(train, test)
        exam.say_of_lone_pictures()
        overlap = _overlap(settings, network, parts, exam)
        records = [
            _with_overlap(
                _labelled(cast(Kind, name), settings, network, exam), overlap, of_pictures
            )
            for name in names
        ]
    for record in records:
        record["next"] = _next(record, settings, network, of_pictures)
        atomic.write_json(_place(out, network, record), record, another=OUT)
    return records[0] if len(records) == 1 else records


def _overlap(settings: Probe, network: NamedNetwork, parts: Parts, exam: "_Exam") -> dict[str, Any]:
    """Tell which test pictures the network has seen, and which are in both parts: for the record.

    The keys are those of the record; `told` are the sentences. Of pictures that are tested in folds
    copies are all in one, so that none is ever in both parts.
    """
    source, rows = parts.test or parts.train, exam.tested
    read = source.subset(rows if exam.test.origins is None else exam.test.origins[rows])
    asked = settings.test or settings.data or str(network.data)
    seen = count_seen(network, asked, read)
    both = 0 if exam.folds is not None else in_both(exam.train, exam.test)
    told = (seen_sentence(seen, len(rows), network.name), both_parts_sentence(both, len(rows)))
    return {
        "seen_in_pretraining": seen,
        "identical_in_training": both,
        "told": [words for words in told if words is not None],
    }


def _with_overlap(
    record: dict[str, Any], overlap: dict[str, Any], of_pictures: str | None
) -> dict[str, Any]:
    """Add to a record what the pictures themselves tell."""
    found = [] if of_pictures is None else [of_pictures]
    return {
        **record,
        **{key: value for key, value in overlap.items() if key != "told"},
        "alike": of_pictures is not None,
        "reasons": [*found, *record["reasons"], *overlap["told"]],
    }


def _next(
    record: dict[str, Any], settings: Probe, network: NamedNetwork, of_pictures: str | None
) -> dict[str, Any]:
    """Say what to do next."""
    run = network.run
    return advice.after_probe(
        None if run is None else advice.Trained.kept(run.path, run.settings),
        record["verdict"],
        network=network.name,
        data=settings.data or str(network.data),
        alike=of_pictures is not None,
        trained=record.get("trained"),
        dictionary=record.get("patch_dictionary"),
    )._asdict()


def _place(out: Path, network: NamedNetwork, record: dict[str, Any]) -> Path:
    """Name the file of a record: PROBE.json, with the network's and data's names where taken."""
    place = out / f"{record['probe']}.json"
    if not place.exists():
        return place
    about = ("run", "data", "test")
    with contextlib.suppress(SelfsightError):  # a damaged one is another's, as far as is known
        known = read_record(place, remedy="remove it").get("settings")
        asked = record["settings"]
        if isinstance(known, dict) and all(known.get(k) == asked.get(k) for k in about):
            return place  # measured anew
    short = Path(network.name.replace(":", "-")).name.removesuffix(ENCODER_FILE)
    names = [short, Path(record["settings"]["data"]).stem]
    return out / f"{'-'.join([record['probe'], *names])}.json"


def _sources(settings: Probe, network: NamedNetwork) -> Parts:
    """Open training and test pictures.

    There is no test part without labels, and where few pictures are tested in folds.
    """
    parts = network.parts(settings.data, f"probe {settings.run} needs DATA: labelled pictures")
    train, test = parts.train, parts.test
    if settings.test is not None:
        other = open_data(settings.test)
        test = other.test or other.train
        if train.labels is not None and test.labels is not None:
            test = same_classes(train, test)
    if train.labels is not None or train.unlabelled:
        labels_of(train, "a probe", "give other DATA")
    if test is None and train.labels is not None and not _in_folds(train, network):
        train, test = split(train)
    if test is not None and train.labels is not None and test.labels is None:
        labels_of(test, "testing a probe", "give other pictures with --test")
    if test is not None and train.labels is None:
        test = None
    if test is not None:
        require_same_classes(train, test)
    return Parts(train, test)


def _in_folds(source: Source, network: NamedNetwork) -> bool:
    """Whether to test every picture: few are there, and the network was taught no labels.

    A run that learns from labels leaves out the fifth that `split` keeps, and is tested on that.
    """
    return len(source) < FOLDS * FEW_TESTED and not network.knows_labels


def _pictures(
    parts: Parts, settings: Probe, network: NamedNetwork
) -> tuple[Pictures, Pictures | None]:
    """Read training and test pictures as the network sees them."""
    most = max(DRAWS * settings.labels, CALIBRATED_ON)
    test = None if parts.test is None else _read(parts.test, network)
    return _read(parts.train, network, most), test


def _read(source: Source, network: NamedNetwork, most: int | None = None) -> Pictures:
    """Read pictures as the network sees them, to be gone through several times.

    Where they do not fit into memory, and more are there than the draws could use, `most` of them
    are taken.
    """
    channels = network.encoder.recipe.channels
    fits = fitting(len(source) * channels * network.size**2 * 2) == "memory"
    if not fits and most is not None and source.labels is not None and most < len(source):
        most = max(most, len(source.classes))
        rows, _ = choose_labelled(source.labels, most, seed=0, draw=0)
        source = source.subset(rows.sort().values)
    return read_with_progress(
        source,
        side=network.size,
        fit="square",
        channels=channels,
        steady=True,
        listed_in="the record",
    )


@dataclass(frozen=True)
class _Exam:
    """The labelled pictures that probes are fitted on and tested on.

    Attributes:
        train: What is fitted on.
        test: What is tested on; the same pictures where they are tested in folds.
        folds: (N,) int64, the fold each is tested in, -1 for none; None with a part of its own.
    """

    train: Pictures
    test: Pictures
    folds: Tensor | None

    @classmethod
    def of(cls, train: Pictures, test: Pictures | None) -> "_Exam":
        """Deal labelled pictures into folds where there is no test part, copies into one."""
        if test is not None:
            return cls(train, test, None)
        assert train.labels is not None  # only labelled pictures are probed
        return cls(train, train, folds_of(train.labels, alike=numbered_by_content(train)))

    @property
    def tested(self) -> Tensor:
        """Rows of the pictures that are tested: (T,) int64."""
        if self.folds is None:
            return torch.arange(len(self.test))
        return (self.folds >= 0).nonzero()[:, 0]

    def say_of_lone_pictures(self) -> None:
        """Say which classes have no picture to be tested on."""
        assert self.test.labels is not None  # as above
        counts = self.test.labels[self.tested].bincount(minlength=len(self.test.classes)).tolist()
        untested = [n for n, count in zip(self.test.classes, counts, strict=True) if count == 0]
        if untested:
            console().print(f"no test picture for {', '.join(untested)}: too few of them are there")


def _labelled(kind: Kind, settings: Probe, network: NamedNetwork, exam: _Exam) -> dict[str, Any]:
    """Probe the network and what stands beside it: -> the record."""
    begun = time.monotonic()
    draws = 1 if settings.quick else DRAWS
    recipe = network.encoder.recipe
    train, test = exam.train, exam.test

    def answers(title: str, asked: LayeredNetwork) -> Answers:
        with Bar(title, len(train) + len(test)) as bar:
            return measure(
                asked,
                train,
                test,
                probe=kind,
                labels=settings.labels,
                draws=draws,
                seed=settings.seed,
                device=network.device,
                folds=exam.folds,
                progress=lambda done, total: bar(done, total=total),
            )

    described = {
        "probe": kind,
        "labels": settings.labels,
        "draws": draws,
        "seed": settings.seed,
        "device": network.device,
        "folded": exam.folds is not None,
    }

    def untrained(seed: int) -> Answers:
        fresh = untrained_encoder(recipe, seed, train.images, device=network.device)
        return answers("untrained", fresh)

    trained = answers("trained", network.encoder)
    others = [
        kept_answers(
            {**described, "recipe": recipe.to_json(), "initial": seed},
            train,
            test,
            lambda seed=seed: untrained(seed),
        )
        for seed in untrained_seeds(network.seed, quick=settings.quick)
    ]
    plain = Pixels(recipe.channels, network.size)
    pixels = kept_answers(
        {**described, "recipe": "pixels"}, train, test, lambda: answers("pixels", plain)
    )

    def fitted_patches() -> Answers:
        with Bar("fitting patches", len(train)) as bar:
            fitted = kept_dictionary(
                train,
                size=network.size,
                device=network.device,
                progress=lambda done, total: bar(done, total=total),
            )
        return answers("patch dictionary", fitted)

    try:
        dictionary = kept_answers(
            {**described, "recipe": "patch dictionary", "fitted": REVISION, "size": network.size},
            train,
            test,
            fitted_patches,
        )
    except PatchesAlike as error:
        console().print(f"no patch dictionary beside the network: {error}")
        dictionary = None
    return result_record(
        trained,
        others,
        pixels,
        train,
        test,
        probe=kind,
        dictionary=dictionary,
        folds=exam.folds,
        seconds=round(time.monotonic() - begun, 1),
        settings=_told(settings, network, train, test),
        machine=machine.described(network.device),
    )


def _told(
    settings: Probe, network: NamedNetwork, train: Pictures, test: Pictures | None
) -> dict[str, Any]:
    """Keep what was asked and derived, for the record."""
    return {
        **dataclasses.asdict(settings),
        "data": train.name,
        "test": None if test is None else test.name,
        "size": network.size,
        "view": SQUARE_VIEW,
        "skipped": [
            dataclasses.asdict(picture)
            for part in (train, test)
            if part is not None
            for picture in part.skipped
        ],
        "encoder": network.encoder.recipe.to_json(),
    }


def _unlabelled(
    kind: str, network: NamedNetwork, pictures: Pictures, of_pictures: str | None
) -> dict[str, Any]:
    """Say what can be said without labels."""
    if network.pretext is None:
        raise SelfsightError(
            f"{pictures.name} has no labels, and {network.name} no pretext task to ask instead; "
            "sort fifty pictures into one folder a class"
        )
    try:
        solved = Solved.kept(network.pretext)
    except ValueError as error:
        assert network.run is not None  # it is a run's record
        raise network.run.damaged_result("pretrain", str(error)) from None
    begun = time.monotonic()
    images = pictures.images[some_rows(len(pictures), UNLABELLED_JUDGED)]
    fresh = untrained_encoder(network.encoder.recipe, network.seed, images, device=network.device)
    verdict = judge_unlabelled(
        Shape.of(final_features(network.encoder.to(network.device), images)),
        Shape.of(final_features(fresh, images)),
        solved,
        of_pictures=of_pictures,
    )
    return {
        "probe": kind,
        "labels": 0,
        "test": len(images),
        "alike": of_pictures is not None,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "seconds": round(time.monotonic() - begun, 1),
        "settings": {
            "run": network.name,
            "data": pictures.name,
            "test": None,
            "size": network.size,
        },
        "machine": machine.described(network.device),
    }


def show(record: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Print records for people: a table of layers, and the verdict."""
    for one in record if isinstance(record, list) else [record]:
        if one["labels"]:
            answers().print(table_of(one))
        answers().print(one["verdict"], style="bold", end="")
        answers().print(f": {' '.join(one['reasons'])}")
        for line in advice.lines(one):
            answers().print(line)


def table_of(record: dict[str, Any]) -> Table:
    """Set the layers out, trained beside untrained, with pixels and dictionary below."""
    tested = f"test pictures in {record['folds']} folds" if record["folds"] else "test pictures"
    title = (
        f"{record['probe']} probe: accuracy in %, {record['labels']:,} labels, "
        f"{record['test']:,} {tested}, {record['draws']} draw"
        f"{'s' if record['draws'] > 1 else ''} (chance {_shown(record['chance'])})"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for column in ("untrained", "trained", "95 % interval", "gain"):
        table.add_column(column, justify="right")
    for name, row in record["layers"].items():
        best = name == record["best_layer"]
        table.add_row(
            f"{name} (best)" if best else name,
            _shown(row["untrained"]),
            _shown(row["trained"]),
            f"{_shown(row['low'])} to {_shown(row['high'])}",
            _gain(row),
            style="bold" if best else None,
        )
    table.add_section()
    table.add_row(
        "own best layer",
        _shown(record["untrained"]),
        _shown(record["trained"]),
        f"gain {in_percent(record['gain_low']):+.1f} to {in_percent(record['gain_high']):+.1f}",
        _gain(record),
    )
    if record["pixels"] is not None:
        table.add_row("pixels", "", _shown(record["pixels"]), "", "")
    if record["patch_dictionary"] is not None:
        table.add_row("patch dictionary", "", _shown(record["patch_dictionary"]), "", "")
    return table


def _shown(share: float) -> str:
    """Write a share in %, as the sentences do."""
    return f"{in_percent(share):.1f}"


def _gain(row: dict[str, Any]) -> str:
    """Write the gain: the difference of the two numbers beside it, as they are shown."""
    return f"{round(in_percent(row['trained']) - in_percent(row['untrained']), 1) + 0.0:+.1f}"

"""By layer: probes every layer of a frozen encoder with samples whose classes are known.

The trained network is compared with the same one untrained, and with the references of its
modality: of pictures, the raw pixels and a dictionary of patches that is fitted without gradients.
All are probed in the same way on the same labelled samples.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from rich.table import Table
from torch import Tensor

from selfsight.data.batches import some_rows
from selfsight.data.samples import Samples, numbered_by_content
from selfsight.data.source import Parts, Source, labels_of, require_same_classes, same_classes
from selfsight.data.splitting import FOLDS, folds_of, split
from selfsight.errors import SelfsightError
from selfsight.probes import advice
from selfsight.probes.features import LayeredNetwork
from selfsight.probes.measure import Answers, Kind, measure
from selfsight.probes.network import NamedNetwork
from selfsight.probes.overlap import (
    alike_warning,
    both_parts_sentence,
    count_seen,
    in_both,
    seen_sentence,
)
from selfsight.probes.record import result_record
from selfsight.probes.references import NoReference, Reference
from selfsight.probes.untrained import (
    CALIBRATED_ON,
    calibrating,
    final_features,
    kept_answers,
    untrained_encoder,
    untrained_seeds,
)
from selfsight.probes.verdict import Shape, Solved, in_percent, judge_unlabelled
from selfsight.settings import Probe
from selfsight.system import machine
from selfsight.system.loading import object_at
from selfsight.system.progress import Bar, console

DRAWS = 3
UNLABELLED_JUDGED = 1000  # samples
FEW_TESTED = 2000  # samples; where a fifth has fewer, every one is tested, in folds


def probed(names: Sequence[str], settings: Probe, network: NamedNetwork) -> list[dict[str, Any]]:
    """Probe every layer in several ways: -> a record each."""
    parts = _sources(settings, network)
    network = network.seeing(parts.train, parts.test)
    train, test = _read(parts, settings, network)
    alike = alike_warning(train, network.modality)
    if train.labels is None:
        records = [_unlabelled(name, network, train, alike) for name in names]
    else:
        if alike is not None and test is None:  # copies cannot be dealt into folds
            raise SelfsightError(
                f"{alike} Give {network.modality.unit} that differ from each other"
            )
        exam = _Exam.of(train, test)
        exam.say_of_lone_samples()
        overlap = _overlap(settings, network, parts, exam)
        records = [
            _with_overlap(_labelled(cast(Kind, name), settings, network, exam), overlap, alike)
            for name in names
        ]
    for record in records:
        record["next"] = _next(record, settings, network, alike)
    return records


def _overlap(
    settings: Probe, network: NamedNetwork, parts: Parts[Any], exam: "_Exam"
) -> dict[str, Any]:
    """Count test pictures that the network was pretrained on or that are in both parts.

    The keys are those of the record; `told` are the sentences. Where pictures are tested in folds,
    all copies of a picture are in one fold, so that none is in both parts.
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
    record: dict[str, Any], overlap: dict[str, Any], alike: str | None
) -> dict[str, Any]:
    """Add to a record what the samples themselves tell."""
    found = [] if alike is None else [alike]
    return {
        **record,
        **{key: value for key, value in overlap.items() if key != "told"},
        "alike": alike is not None,
        "reasons": [*found, *record["reasons"], *overlap["told"]],
    }


def _next(
    record: dict[str, Any], settings: Probe, network: NamedNetwork, alike: str | None
) -> dict[str, Any]:
    """Say what to do next."""
    run = network.run
    return advice.after_probe(
        None if run is None else advice.Trained.kept(run.path, run.settings),
        record["verdict"],
        network=network.name,
        data=settings.data or str(network.data),
        alike=alike is not None,
        trained=record.get("trained"),
        dictionary=record.get("patch_dictionary"),
    )._asdict()


def _sources(settings: Probe, network: NamedNetwork) -> Parts[Any]:
    """Open training and test samples.

    There is no test part without labels, and where few samples are tested in folds.
    """
    parts = network.parts(settings.data, f"probe {settings.run} needs DATA: labelled pictures")
    train, test = parts.train, parts.test
    if settings.test is not None:
        other = network.modality.open(settings.test)
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


def _read(
    parts: Parts[Any], settings: Probe, network: NamedNetwork
) -> tuple[Samples, Samples | None]:
    """Read training and test samples as the network sees them."""
    most = max(DRAWS * settings.labels, CALIBRATED_ON)
    test = None if parts.test is None else network.read(parts.test)
    return network.read(parts.train, most), test


@dataclass(frozen=True)
class _Exam:
    """The labelled samples that probes are fitted on and tested on.

    Attributes:
        train: What is fitted on.
        test: What is tested on; the same samples where they are tested in folds.
        folds: (N,) int64, the fold each is tested in, -1 for none; None with a part of its own.
    """

    train: Samples
    test: Samples
    folds: Tensor | None

    @classmethod
    def of(cls, train: Samples, test: Samples | None) -> "_Exam":
        """Deal labelled samples into folds where there is no test part, copies into one."""
        if test is not None:
            return cls(train, test, None)
        assert train.labels is not None  # only labelled samples are probed
        return cls(train, train, folds_of(train.labels, alike=numbered_by_content(train)))

    @property
    def tested(self) -> Tensor:
        """Rows of the samples that are tested: (T,) int64."""
        if self.folds is None:
            return torch.arange(len(self.test))
        return (self.folds >= 0).nonzero()[:, 0]

    def say_of_lone_samples(self) -> None:
        """Say which classes have no picture to be tested on."""
        assert self.test.labels is not None  # as above
        counts = self.test.labels[self.tested].bincount(minlength=len(self.test.classes)).tolist()
        untested = [n for n, count in zip(self.test.classes, counts, strict=True) if count == 0]
        if untested:
            console().print(f"no test picture for {', '.join(untested)}: too few of them are there")


def _labelled(kind: Kind, settings: Probe, network: NamedNetwork, exam: _Exam) -> dict[str, Any]:
    """Probe the network and its references: -> the record."""
    begun = time.monotonic()
    draws = 1 if settings.quick else DRAWS
    recipe = network.encoder.recipe
    train, test = exam.train, exam.test

    def answers(title: str, asked: LayeredNetwork) -> Answers:
        with Bar(title, len(train) + len(test), unit=network.modality.unit) as bar:
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
        fresh = untrained_encoder(recipe, seed, calibrating(train), device=network.device)
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
    references = {
        of.key: _reference_answers(of, described, exam, answers)
        for of in (object_at(target)(train, network) for target in network.modality.references)
    }
    return result_record(
        trained,
        others,
        references.get("pixels"),
        train,
        test,
        probe=kind,
        dictionary=references.get("patch_dictionary"),
        folds=exam.folds,
        seconds=round(time.monotonic() - begun, 1),
        settings=_told(settings, network, train, test),
        machine=machine.described(network.device),
    )


def _reference_answers(
    of: Reference,
    described: dict[str, Any],
    exam: _Exam,
    answers: Callable[[str, LayeredNetwork], Answers],
) -> Answers | None:
    """Probe a reference, or take its answers from the cache; None if there is none."""
    try:
        return kept_answers(
            {**described, **of.described},
            exam.train,
            exam.test,
            lambda: answers(of.title, of.network()),
        )
    except NoReference as error:
        console().print(str(error))
        return None


def _told(
    settings: Probe, network: NamedNetwork, train: Samples, test: Samples | None
) -> dict[str, Any]:
    """Keep what was asked and derived, for the record."""
    return {
        **dataclasses.asdict(settings),
        "data": train.name,
        "test": None if test is None else test.name,
        **network.about(),
        "skipped": [
            dataclasses.asdict(picture)
            for part in (train, test)
            if part is not None
            for picture in part.skipped
        ],
        "encoder": network.encoder.recipe.to_json(),
    }


def _unlabelled(
    kind: str, network: NamedNetwork, samples: Samples, alike: str | None
) -> dict[str, Any]:
    """Give the record of a network for samples without labels."""
    if network.pretext is None:
        raise SelfsightError(
            f"{samples.name} has no labels, and {network.name} no pretext task to ask instead; "
            f"sort fifty {network.modality.unit} into one folder a class"
        )
    try:
        solved = Solved.kept(network.pretext)
    except ValueError as error:
        assert network.run is not None  # it is a run's record
        raise network.run.damaged_result("pretrain", str(error)) from None
    begun = time.monotonic()
    inputs = samples.seen(some_rows(len(samples), UNLABELLED_JUDGED))
    some = inputs[some_rows(len(inputs), CALIBRATED_ON)]
    fresh = untrained_encoder(network.encoder.recipe, network.seed, some, device=network.device)
    verdict = judge_unlabelled(
        Shape.of(final_features(network.encoder.to(network.device), inputs)),
        Shape.of(final_features(fresh, inputs)),
        solved,
        of_pictures=alike,
    )
    return {
        "probe": kind,
        "labels": 0,
        "test": len(inputs),
        "alike": alike is not None,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "seconds": round(time.monotonic() - begun, 1),
        "settings": {
            "run": network.name,
            "data": samples.name,
            "test": None,
            **network.about(),
        },
        "machine": machine.described(network.device),
    }


def table_of(record: dict[str, Any]) -> Table:
    """Tabulate the layers, trained beside untrained, with the references below."""
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

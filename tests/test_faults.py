"""Faults: a fixed slice of `make faults`, of every kind; what it finds is asked for again by name.

The slice is chosen by what differs: kinds of state, phases, ways to be killed. `faults.py` has all.
"""

import os
from pathlib import Path

import pytest

from belongings import HOME, belongings, differences
from faults import KINDS, Fault, every, table, tried
from striking import FILES
from trials import FLIPS, Trial
from undisturbed import CASES

slow = pytest.mark.slow  # commands in processes of their own

SLICE = {
    "kill -9": (
        *(("four in turns", 1), ("bf16", 2), ("summed", 0)),
        *(("mapped", 1), ("probe", 1), ("embed parquet", 1)),
    ),
    "full disk": (("mapped", 0), ("mapped", 1), ("embed npz", 0)),
    "flipped bits": (
        *(("checkpoint", 0), ("encoder", 0), ("settings", 0)),
        *(("cached answers", 0), ("map", 0)),
    ),
    "two at once": (("one run", 0), ("one run resumed", 0)),
    "a stream lost": (("error full of rotation", 0),),
    "asked to end": (("four in turns", 2),),
    "data lost": (("folder in stream", 0),),
}


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session for undisturbed outcomes, the same for all that work at it."""
    base = tmp_path_factory.getbasetemp()
    work = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "faults"
    work.mkdir(exist_ok=True)
    return work


def survives(kind: str, case: str, seed: int, work: Path) -> None:
    """Put a fault to a command, and require what was promised."""
    (row,) = tried([Fault(kind, case, seed)], work)
    assert row["survived"] == "yes", table([row])


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["kill -9"])
def test_what_was_killed_goes_on_as_if_it_had_not_been(work: Path, case: str, seed: int) -> None:
    survives("kill -9", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["full disk"])
def test_a_full_disk_is_told_and_loses_nothing(work: Path, case: str, seed: int) -> None:
    survives("full disk", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["flipped bits"])
def test_flipped_bits_are_refused_by_name_or_of_no_consequence(
    work: Path, case: str, seed: int
) -> None:
    survives("flipped bits", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["two at once"])
def test_of_two_at_once_one_ends_well_and_the_other_too_or_is_refused(
    work: Path, case: str, seed: int
) -> None:
    survives("two at once", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["a stream lost"])
def test_a_lost_stream_ends_no_work(work: Path, case: str, seed: int) -> None:
    survives("a stream lost", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["asked to end"])
def test_what_is_asked_to_end_ends_and_goes_on(work: Path, case: str, seed: int) -> None:
    survives("asked to end", case, seed, work)


@slow
@pytest.mark.parametrize(("case", "seed"), SLICE["data lost"])
def test_data_lost_while_it_is_read_is_told(work: Path, case: str, seed: int) -> None:
    survives("data lost", case, seed, work)


def test_the_slice_has_every_kind_and_nothing_that_is_not_tried_in_full() -> None:
    assert SLICE.keys() == KINDS.keys()
    faults = [Fault(kind, case, seed) for kind, some in SLICE.items() for case, seed in some]
    assert set(faults) <= set(every())


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.named for fault in every()]

    assert len(set(names)) == len(names)
    assert all(name.count(":") == 2 for name in names)
    assert all(flip.case in {*CASES, "resume", "result"} for flip in FLIPS.values())


@pytest.mark.parametrize(
    ("late", "draws", "status", "told"),
    [(0, 1, -9, "it hit"), (2, 3, -9, "it hit"), (9, 4, 0, "it never hit in 4 draws")],
)
def test_a_fault_that_comes_too_late_is_put_again_earlier_to_the_same_state(
    tmp_path: Path, late: int, draws: int, status: int, told: str
) -> None:
    trial = Trial("rotation", 0, tmp_path, tmp_path / HOME)
    trial.home.mkdir()
    shares: list[float] = []

    def put(share: float) -> int:
        assert list(trial.home.iterdir()) == []
        (trial.home / "done").touch()
        shares.append(share)
        trial.put = f"at {share}"
        return -9 if len(shares) > late else 0

    assert trial.struck(put) == status
    assert len(shares) == draws
    assert shares == sorted(set(shares), reverse=True)
    assert trial.put == f"at {shares[-1]}: {told}"
    assert [path.name for path in tmp_path.iterdir()] == [HOME]


def test_the_table_counts_what_survived_and_says_how_to_repeat_the_rest() -> None:
    fault, told = {"kind": "full disk", "case": "look"}, {"put": "7 bytes", "why": "it was silent"}
    well, ill = {"seed": "0", "survived": "yes"}, {"seed": "1", "survived": "no"}

    lines = table([{**fault, **told, **well}, {**fault, **told, **ill}]).splitlines()

    assert lines[1].split() == ["full", "disk", "2", "1"]
    assert lines[3:] == ["full disk:look:1", "  put: 7 bytes", "  it was silent"]


@pytest.mark.parametrize("change", ["a bit", "a name", "more", "less"])
def test_what_differs_between_folders_is_found(tmp_path: Path, change: str) -> None:
    homes = [tmp_path / name / HOME for name in ("one", "two")]
    for home in homes:
        (home / "run").mkdir(parents=True)
        (home / "run" / "settings.json").write_text(f'{{"out": "{home}", "seconds": {id(home)}}}')
        (home / "run" / "weights").write_bytes(b"weights")
    assert differences(*map(belongings, homes)) == []

    weights = homes[1] / "run" / "weights"
    if change == "a bit":
        weights.write_bytes(b"weightr")
    elif change == "a name":
        (homes[1] / "run" / "settings.json").write_text('{"out": "elsewhere"}')
    elif change == "more":
        (homes[1] / "run" / "weights.part").touch()
    else:
        weights.unlink()
    (told,) = differences(*map(belongings, homes))

    assert (
        told
        == {
            "a bit": "run/weights is another",
            "a name": "run/settings.json is another",
            "more": "run/weights.part was left",
            "less": "run/weights is missing",
        }[change]
    )


def test_the_calls_by_which_files_are_written_are_the_systems() -> None:
    assert {name for name in FILES if hasattr(os, name)} == FILES

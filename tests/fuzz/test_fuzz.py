"""Fuzz: the first five hundred inputs of `make fuzz`; and a hunt finds what there is to find."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fuzz.hunt import DONE, FINDINGS
from fuzz.opening import KINDS, kind_of

pytestmark = pytest.mark.slow  # opens thousands of pictures, and trains

COUNT = 500
HUNT = [sys.executable, "-W", "ignore", str(Path(__file__).parent)]


def test_every_mutated_input_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    words = [*HUNT, str(COUNT), "--place", str(tmp_path), "--workers", "1"]

    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)

    assert done.returncode == 0, done.stdout + done.stderr
    first, *kinds = done.stdout.splitlines()
    assert first.startswith(f"{COUNT} inputs of seed 0: ")
    read, refused = (int(first.split()[at]) for at in (5, 7))
    assert read + refused == COUNT
    assert min(read, refused) > COUNT // 5  # the damage is neither all nor nothing
    assert [line.split()[0] for line in kinds] == list(KINDS)
    assert all(int(line.split()[1]) > 0 for line in kinds)  # some of every kind are read


def test_kinds_have_their_shares_of_every_hundred() -> None:
    shares = {name: kind.share for name, kind in KINDS.items()}

    assert sum(shares.values()) == 100
    assert Counter(map(kind_of, range(100, 200))) == shares


def test_a_hunt_that_is_broken_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    words = [*HUNT, "40", "--place", str(tmp_path), "--workers", "1"]
    log = tmp_path / "seed-0" / DONE
    hunt = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while hunt.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 4):
        time.sleep(0.05)
    hunt.send_signal(signal.SIGINT)
    said, _ = hunt.communicate(timeout=60)
    before = [json.loads(line)["number"] for line in log.read_text().splitlines()]

    again = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)

    assert hunt.returncode == 130
    assert said.startswith(f"stopped after {len(before)} inputs")
    assert 4 < len(before) < 40
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.startswith("40 inputs of seed 0: ")
    assert f"{len(before)}/40" not in again.stdout
    assert not log.exists()  # the next hunt begins anew


FAULTS = """
import os, socket, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from fuzz import hunt, opening

def opened(place, home, draw):
    number = int(Path(place).name)
    if number == 0:
        raise KeyError("no sentence")
    if number == 1:
        os.abort()
    if number == 2:
        end = time.process_time() + 60
        while time.process_time() < end:
            pass
    if number == 3:
        return str(len(bytearray(1_700_000_000)))
    if number == 4:
        os.system("true")
    if number == 5:
        Path(place, "..", "outside").write_text("")
    if number == 6:
        socket.create_connection(("127.0.0.1", 9))
    if number == 7:
        print("\\x1b[31m")
    return "read"

opening.KINDS.clear()
opening.KINDS["planted"] = opening.Kind(1, lambda home, place, draw: str(place), opened)
sys.argv = ["fuzz", "9", "--place", sys.argv[1], "--workers", "1"]
sys.exit(hunt.main())
"""


def test_each_kind_of_fault_is_found_and_kept(tmp_path: Path) -> None:
    program = FAULTS.format(tests=str(Path(__file__).parent.parent))
    words = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]

    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 1, done.stdout + done.stderr
    kept = tmp_path / "seed-0" / FINDINGS
    found = {path.name: (path / "what.txt").read_text() for path in kept.iterdir()}
    for number, words in enumerate(
        (
            "KeyError: 'no sentence'",
            "died of SIGABRT",
            "took over 5 s of processor time, and was ended by SIGKILL",
            "GB of memory",
            "os.system",
            "outside its folder",
            "socket.",
            "printed what cannot be shown",
        )
    ):
        assert words in found.pop(f"{number}-planted")
    assert found == {}  # number 8 did nothing
    assert done.stdout.startswith("9 inputs of seed 0: 1 read, 0 refused, 8 faults")

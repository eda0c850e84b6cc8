"""Machine: the processors and memory a process may use, and the load by other programs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from selfsight.system import machine


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "190000 100000\n"}, 1),  # not quite two: two threads would be held up
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"quota": "-1\n", "period": "100000\n"}, None),
        ({"quota": "100000\n", "period": "100000\n"}, 1),
        ({"quota": "100000\n"}, None),
    ],
)
def test_a_containers_quota_lowers_the_processors(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CONTAINER_QUOTAS", ())
    all_of_them = machine.processors()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = ((str(tmp_path / "cpu.max"),), (str(tmp_path / "quota"), str(tmp_path / "period")))
    monkeypatch.setattr(machine, "CONTAINER_QUOTAS", places)

    assert machine.processors() == (expected or all_of_them)


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize("most", ["AVX2", "avx512_core"])
def test_bf16_is_left_alone_where_it_is_forbidden(
    name: str, most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv(name, most)

    assert not machine.multiplies_bf16("cpu")


def test_bf16_is_for_processors_that_multiply_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    known = torch.cpu.get_capabilities()
    allowed = "AVX512" in torch.backends.cpu.get_cpu_capability()

    has = bool(known.get("avx512_bf16")) or bool(known.get("amx_bf16"))
    assert machine.multiplies_bf16("cpu") == (has and allowed)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells who is at work")
def test_another_program_at_work_is_noticed() -> None:
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        company = machine.OtherPrograms()
        while (busy := company.busy()) is None or busy < 0.3:
            time.sleep(0.1)
    finally:
        program.kill()
        program.wait()

    assert busy <= machine.processors()


def test_too_short_a_look_says_nothing() -> None:
    assert machine.OtherPrograms().busy() is None


GROUPS = {  # lines of /proc/self/cgroup, and of mountinfo; where a group's files lie; bytes
    "version 2, nested": (
        "0::/job/step\n",
        "42 31 0:38 / {top} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n",
        {"job/memory.max": "3000", "job/step/memory.max": "max", "job/step/memory.high": "5000"},
        [3000, 5000],
    ),
    "version 1, beside another controller": (
        "9:memory:/job/step\n4:cpu,cpuacct:/\n0::/\n",
        "30 31 0:29 / {top}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / {top} rw,relatime shared:9 - cgroup cgroup rw,memory\n",
        {
            "memory.limit_in_bytes": "9000",
            "job/memory.limit_in_bytes": "7000",
            "job/step/memory.limit_in_bytes": "8000",
            "cpu/memory.limit_in_bytes": "1",
        },
        [7000, 8000, 9000],
    ),
    "in a container that sees its own part alone": (
        "0::/docker/ab/inner\n",
        "42 31 0:38 /docker/ab {top} rw - cgroup2 cgroup2 rw\n",
        {"memory.max": "4000", "inner/memory.max": "2000"},
        [2000, 4000],
    ),
    "a group outside of what is mounted": (
        "0::/../elsewhere\n",
        "42 31 0:38 / {top} rw - cgroup2 cgroup2 rw\n",
        {"memory.max": "4000"},
        [4000],
    ),
    "none": ("", "", {}, []),
}


@pytest.mark.parametrize("case", GROUPS)
def test_every_group_that_a_process_is_in_limits_its_memory(case: str, tmp_path: Path) -> None:
    groups, mounts, files, limits = GROUPS[case]
    top = tmp_path / "groups"
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{text}\n")
    (tmp_path / "memory.max").write_text("1\n")  # no group's: it lies outside
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "mountinfo").write_text(mounts.format(top=top))

    found = machine._limits_of_groups(tmp_path / "cgroup", tmp_path / "mountinfo")  # pyright: ignore[reportPrivateUsage] -- the machine's own cannot be chosen

    assert sorted(found) == limits


LIMITED = """
import resource, sys
from selfsight.system import machine
before = machine.memory()
resource.setrlimit(getattr(resource, sys.argv[1]), (int(sys.argv[2]),) * 2)
print(before, machine.memory())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what is taken")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limits_of_the_process_count_less_what_is_mapped(limit: str) -> None:
    most = 1 << 36  # 64 GiB of addresses are a limit on larger machines alone
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, str(most)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert after == before or 0 < after < most

    most = 6 << 30  # which torch fits into
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, str(most)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert 0 < after < most

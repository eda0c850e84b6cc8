"""Machine: what it may use, and who else is at work."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from selfsight import machine


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
        company = machine.Company()
        while (busy := company.busy()) is None or busy < 0.3:
            time.sleep(0.1)
    finally:
        program.kill()
        program.wait()

    assert busy <= machine.processors()


def test_too_short_a_look_says_nothing() -> None:
    assert machine.Company().busy() is None

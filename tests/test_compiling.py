"""Compiling: the same names, nearly the same numbers, and a way on where it fails."""

import shutil
from pathlib import Path

import pytest
import torch

import selfsight
from selfsight import encoders
from selfsight.data.pictures.batch import Images
from selfsight.distributed.engine import compile_encoders, fault_of_compiling, uncompile_encoders
from selfsight.encoders.encoder import look_into
from selfsight.tasks.rotation import Rotation

SHORT = {"encoder": "test_resnet", "size": 16, "batch": 8, "samples": 32, "precision": "f32"}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler is here")


def task() -> Rotation:
    torch.manual_seed(0)
    encoder = encoders.build("test_resnet", size=16, channels=1)
    return Rotation(encoder, encoder.dim, size=16)


def batch() -> Images:
    torch.manual_seed(1)
    return Images.of(torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8))


def test_compiling_changes_no_name_and_can_be_taken_back() -> None:
    whole = task()
    names = list(whole.state_dict())

    compile_encoders(whole)
    assert whole.encoder._compiled_call_impl is not None
    assert whole._compiled_call_impl is None  # its draws would break the graph
    assert whole.encoder.look is not look_into
    assert list(whole.state_dict()) == names

    uncompile_encoders(whole)
    assert whole.encoder._compiled_call_impl is None
    assert whole.encoder.look is look_into


def test_a_step_that_cannot_be_compiled_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task()
    before = {key: value.clone() for key, value in whole.state_dict().items()}

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler was found\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: failing)

    assert fault_of_compiling(whole, batch(), "cpu", "f32") == "no C++ compiler was found"
    assert all(value.equal(before[key]) for key, value in whole.state_dict().items())


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_resumes_and_gives_nearly_the_weights_of_a_plain_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {
        way: selfsight.pretrain(
            "digits", "rotation", out=str(tmp_path / way), compile=way, device="cpu", **SHORT
        )
        for way in ("on", "off")
    }
    assert runs["on"].settings["plan"]["compiled"] is True
    assert ", compiled" in capsys.readouterr().err

    on, off = (runs[way].encoder().body.state_dict() for way in ("on", "off"))
    assert on.keys() == off.keys()
    for key, value in off.items():
        torch.testing.assert_close(on[key], value, rtol=1e-3, atol=1e-4)
    selfsight.pretrain(resume=str(runs["on"].path))
    assert "is finished" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_without_a_compiler_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "nothing"),))
    torch.compiler.reset()

    run = selfsight.pretrain(
        "digits", "rotation", out=str(tmp_path / "run"), compile="on", device="cpu", **SHORT
    )

    assert run.settings["plan"]["compiled"] is False
    assert capsys.readouterr().err.count("compiling failed, so the encoder runs as it is: ") == 1

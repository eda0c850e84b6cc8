"""Task errors: a mistake in a task's code is told as such, and what an encoder refuses as that."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import planted
import selfsight
from selfsight.errors import SelfsightError, UsageError
from selfsight.tasks.base import Score
from selfsight.tasks.rotation import Rotation
from selfsight.tasks.table import TASKS

BRIEF: dict[str, Any] = {"size": 16, "samples": 24, "batch": 8, "limit": 24, "device": "cpu"}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a task into the table, as a newcomer would."""

    def into_the_table(name: str) -> None:
        row = TASKS["simclr"]._replace(target=f"planted:{name}", blind=False)
        monkeypatch.setitem(TASKS, "byol", row)

    return into_the_table


def place_of(name: str, words: str) -> int:
    """Find the line of a planted mistake."""
    lines = Path(planted.__file__).read_text().splitlines()
    begun = lines.index(f"class {name}(BYOL):")
    return next(n for n, line in enumerate(lines, 1) if n > begun and words in line)


def learned(tmp_path: Path, task: str | tuple[str, ...] = "byol", **more: Any) -> selfsight.Run:
    return selfsight.pretrain("digits", task, out=str(tmp_path / "run"), **BRIEF | more)


def test_a_planted_task_learns(plant: Any, tmp_path: Path) -> None:
    plant("BYOL")

    run = learned(tmp_path)

    assert run.result("pretrain") is not None
    assert (run.path / "encoder-target.safetensors").exists()


def test_a_wrong_shape_in_score_is_told_with_its_line_and_the_traceback_is_kept(
    plant: Any, tmp_path: Path
) -> None:
    plant("WrongShape")

    with pytest.raises(SelfsightError) as told:
        learned(tmp_path)

    said = str(told.value)
    line = place_of("WrongShape", "[:, :3]")
    assert f"byol failed in its own code, {planted.__file__}, line {line}, in score" in said
    assert "RuntimeError: The size of tensor a (16) must match the size of tensor b (3)" in said
    assert "encoder" not in said
    kept = re.search(r"the whole traceback is in (\S+)", said)
    assert kept is not None
    place = Path(kept[1])
    assert f"line {line}, in score" in place.read_text()
    assert not (tmp_path / "run").exists()  # the run had not begun
    place.unlink()


def test_in_a_mix_the_task_that_failed_is_named(plant: Any, tmp_path: Path) -> None:
    plant("WrongShape")

    with pytest.raises(
        SelfsightError, match=r"^byol failed in its own code, .*planted\.py"
    ) as told:
        learned(tmp_path, ("rotation", "byol"))

    Path(str(told.value).rpartition(" ")[2]).unlink()


def test_an_error_of_a_run_that_has_begun_is_kept_in_its_directory(
    plant: Any, tmp_path: Path
) -> None:
    plant("OneStepTooFar")

    said = r"byol failed .* in after_step: AttributeError"
    with pytest.raises(SelfsightError, match=said) as told:
        learned(tmp_path)

    kept = tmp_path / "run" / "traceback.txt"
    assert str(told.value).endswith(f"the whole traceback is in {kept}")
    assert "momenta" in kept.read_text()


def test_pictures_that_no_encoder_takes_are_the_tasks_mistake(plant: Any, tmp_path: Path) -> None:
    plant("WrongPictures")

    with pytest.raises(SelfsightError, match=r"byol failed .* in predict") as told:
        learned(tmp_path)

    Path(str(told.value).rpartition(" ")[2]).unlink()


def test_what_the_encoder_itself_refuses_is_told_as_that(tmp_path: Path) -> None:
    said = r"jigsaw on 16 px cannot be learned by encoder .*; give a larger --size or another"

    with pytest.raises(UsageError, match=said):
        learned(tmp_path, "jigsaw", encoder="test_vit")


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory", "bad_alloc"])
def test_memory_that_ran_out_in_a_task_is_no_mistake_of_it(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: Rotation, logits: torch.Tensor, turns: torch.Tensor) -> Score:
        raise RuntimeError(words)

    monkeypatch.setattr(Rotation, "score", greedy)

    with pytest.raises(RuntimeError, match=re.escape(words)):
        learned(tmp_path, "rotation")


def test_a_loss_without_a_gradient_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detached(self: Rotation, logits: torch.Tensor, turns: torch.Tensor) -> Score:
        return Score(logits.detach().mean(), {})

    monkeypatch.setattr(Rotation, "score", detached)
    said = "^rotation failed where the gradient of the loss is taken: RuntimeError: element 0"

    with pytest.raises(SelfsightError, match=said) as told:
        learned(tmp_path, "rotation")

    Path(str(told.value).rpartition(" ")[2]).unlink()

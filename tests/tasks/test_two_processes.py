"""Two processes train as one with the joint batch: every task of the table, and what breaks it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import selfsight.distributed.gather as gather
from making import SAMPLES, batch_of, made, photographs, rows_of
from pair import Pair
from selfsight.distributed import batch_statistics
from selfsight.distributed.batch_statistics import with_joint_statistics
from selfsight.distributed.engine import Engine
from selfsight.distributed.gather import own_rows, processes, summed
from selfsight.tasks.base import Task
from selfsight.tasks.mix import Together
from selfsight.tasks.table import TASKS
from selfsight.training.optimizer import parameter_groups, rate_factor

BATCH, STEPS = 8, 10
RATE, DECAY = 0.1 * BATCH / 64, 5e-4  # as a run chooses them for SGD
WARM_UP, WHOLE = 20, 400  # these are the first steps of a training of so many

# What is compared, by name: a task with its settings, or several that share an encoder.
Case = tuple[dict[str, dict[str, Any]], str | None]
# Parted statistics depend on the parts: as many in one process as in two. At low temperatures and
# eight pictures rounding errors grow threefold a step, in one process as between two.
GIVEN: dict[str, dict[str, Any]] = {
    "simclr": {"temperature": 0.5},
    "moco": {"groups": 2, "temperature": 0.2},
    "moco-v2": {"groups": 2},
}
CASES: dict[str, Case] = {
    name: ({name: GIVEN.get(name, {})}, None) for name, row in TASKS.items() if row.way == "trained"
}
CASES |= {
    "inpainting with a critic": ({"inpainting": {"adversarial": 0.1}}, None),
    "colorization by numbers": ({"colorization": {"objective": "regression"}}, None),
    "simclr with few negatives": ({"simclr": {"temperature": 0.5, "negatives": 6}}, None),
    "instances by noise contrast": ({"instance-discrimination": {"objective": "nce"}}, None),
    "instances against drawn ones": ({"instance-discrimination": {"negatives": 16}}, None),
    "moco in four groups": ({"moco": {"groups": 4, "symmetric": True}}, None),
    "in turns": ({"rotation": {}, "simclr": {}}, "alternate"),
    "summed": ({"rotation": {}, "colorization": {}}, "sum"),
}

State = dict[str, Tensor]


def task_of(case: Case) -> Task:
    """Make a task, the same in every process, with networks that are smooth.

    A rectifier whose input is near 0 makes of a rounding error another gradient: with rectifiers,
    two trainings by simclr in one process, whose first weights differ by a share of 1e-7, are 0.07
    apart after these steps. With smooth networks, errors stay as small as they are.
    """
    task = _task_of(case)
    for part in list(task.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.SiLU())
    return task


def _task_of(case: Case) -> Task:
    tasks, mix = case
    parts = {name: made(name, **settings) for name, settings in tasks.items()}
    first, *others = parts.values()
    if mix is None:
        return first
    for other in others:  # made about encoders of the same seed, which differ in how they are fed
        other.encoder.model = first.encoder.model
    return Together(parts, mix=mix)  # pyright: ignore[reportArgumentType] -- a literal above


def followed(case: Case, *, factor: float = 1.0, joint: bool = True) -> dict[str, Any]:
    """Train for some steps, on this process's share of every batch.

    Args:
        case: What is trained.
        factor: Of the loss; another than 1 is a mistake.
        joint: Whether statistics are joint; False is a mistake.

    Returns:
        The mean losses of the steps, the gradient of the first step, the state before the first
        step, after it and after the last.
    """
    task = task_of(case)
    if joint:
        with_joint_statistics(task, but=task.unjoined)
    name = next(iter(case[0]))
    whole = batch_of(name, photographs(name, SAMPLES))
    engine = Engine("cpu", "f32", devices=processes(), resting=case[1] == "alternate")
    optimizer = torch.optim.SGD(parameter_groups(task, DECAY), lr=RATE, momentum=0.9, nesterov=True)
    gradients: list[State] = []
    optimizer.register_step_pre_hook(lambda *_: gradients.append(_gradients(task)))
    engine.prepare(task.train(), optimizer)
    losses, states = [], [_state(task)]
    for step in range(STEPS):
        rows = [(BATCH * step + i) % SAMPLES for i in range(BATCH)]
        rate = RATE * rate_factor(step, WHOLE, WARM_UP, "cosine")
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        task.before_step(step, STEPS)
        score = engine.score(rows_of(whole, rows[own_rows(BATCH // processes())]))
        losses.append(summed(score.loss) / processes())
        engine.update(score.loss * factor, clip=None)
        task.after_step(step, STEPS)
        states.append(_state(task))
    return {
        "losses": torch.stack(losses),
        "gradient": gradients[0],
        "states": states,
    }


def _gradients(task: nn.Module) -> State:
    return {k: p.grad.clone() for k, p in task.named_parameters() if p.grad is not None}


def _state(task: nn.Module) -> State:
    """Copy all that lasts; how often statistics were taken depends on how batches are parted."""
    states = task.state_dict().items()
    return {key: value.clone() for key, value in states if "num_batches_tracked" not in key}


def farthest(got: State, wanted: State) -> tuple[float, str]:
    """Find what differs most: -> the length of the difference over that of what is wanted, of what.

    What is small beside the rest is measured by a hundredth of the longest.
    """
    assert got.keys() == wanted.keys()
    lengths = {key: value.double().norm().item() for key, value in wanted.items()}
    least = max(lengths.values()) / 100
    return max(
        ((got[key].double() - wanted[key].double()).norm().item() / max(length, least), key)
        for key, length in lengths.items()
    )


def check_alike(one: dict[str, Any], both: list[dict[str, Any]]) -> None:
    """Check that two processes have loss, gradient and states of one."""
    for two in both:
        torch.testing.assert_close(two["losses"][0], one["losses"][0], rtol=1e-5, atol=1e-6)
        difference, where = farthest(two["gradient"], one["gradient"])
        assert difference < 1e-4, where
        for got, wanted in zip(two["states"], one["states"], strict=True):
            difference, where = farthest(got, wanted)
            assert difference < 1e-4, where
    for first, second in zip(*(two["states"] for two in both), strict=True):
        assert [key for key in first if not first[key].equal(second[key])] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_loss_gradient_and_weights_of_one(two: Pair, name: str) -> None:
    check_alike(followed(CASES[name]), two.ask(followed, CASES[name]))


def job_with(mistake: str, case: Case) -> dict[str, Any]:
    """Train with a mistake in what goes between the processes, and mend it afterwards."""
    if mistake == "summed gradients":
        return followed(case, factor=float(processes()))
    if mistake == "own statistics":
        return followed(case, joint=False)
    task_of(case)  # what would be loaded with the mistake in place would keep it
    with pytest.MonkeyPatch.context() as patch:
        MISTAKES[mistake](patch)
        return followed(case)


def everywhere(patch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    """Put a function in the place of one of `gather`, wherever it has been imported to."""
    old = getattr(gather, name)
    for module in [m for key, m in sys.modules.items() if key.startswith("selfsight")]:
        if getattr(module, name, None) is old:
            patch.setattr(module, name, function)


def _own_rows_only(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "gathered", lambda rows: rows)
    everywhere(patch, "own", lambda rows: slice(0, rows))


def _no_gradient_to_others(patch: pytest.MonkeyPatch) -> None:
    mine = staticmethod(lambda ctx, *gradients: gradients[0][own_rows(ctx.rows)])
    patch.setattr(gather._Gathered, "backward", mine)


def _own_sums_behind_statistics(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batch_statistics, "summed", lambda values: values)


MISTAKES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "own rows only": _own_rows_only,
    "no gradient to others": _no_gradient_to_others,
    "own sums behind statistics": _own_sums_behind_statistics,
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [*MISTAKES, "summed gradients", "own statistics"])
def test_a_mistake_between_processes_is_found(two: Pair, mistake: str) -> None:
    case = CASES["simclr"]

    with pytest.raises(AssertionError):
        check_alike(followed(case), two.ask(job_with, mistake, case))

    check_alike(followed(case), two.ask(followed, case))  # nothing of it is left

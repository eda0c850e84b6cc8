"""The contract's checks: what every task must keep, whatever it learns from; each lists the faults.

They are functions of a task and a batch, so that they can be asked of tasks with planted mistakes
too: a check that finds nothing in those would prove nothing of the others.
"""

from typing import Any

import torch
from torch import Tensor, nn

from selfsight.tasks.base import Task

STEPS = 9  # of the training that tasks are told of
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
LEAST = 1e-3  # difference of two views that are not the same, in [0, 1]
ROWS = 3  # of a target network, that are changed one after the other


def faults_of_scoring(task: Task, batch: Any) -> list[str]:
    """Score a batch twice: nothing but batch statistics may change, so that both are the same.

    The weights have moved a little before: a target that begins as a copy would follow unseen.
    """
    task.train()
    _move(task)
    task.before_step(0, STEPS)
    before, generator = _state(task), torch.get_rng_state()

    first, second = task(batch).loss, task(batch).loss

    after = _state(task)
    faults = [f"scoring changes {key}" for key in before if not after[key].equal(before[key])]
    if not torch.get_rng_state().equal(generator):
        faults.append("scoring draws from torch's generator, and not from the batch's draws")
    if not first.equal(second):
        faults.append("scored twice, a batch has two losses")
    return faults


@torch.no_grad()
def _move(task: Task) -> None:
    """Move all weights that are trained a little."""
    generator = torch.Generator().manual_seed(0)
    for value in task.parameters():
        if value.requires_grad:
            value += 0.01 * torch.randn(value.shape, generator=generator)


def _state(task: Task) -> dict[str, Tensor]:
    """Copy all that a task holds but batch statistics."""
    every = {**task.state_dict(), **dict(task.named_buffers())}
    return {k: v.detach().clone() for k, v in every.items() if not k.endswith(STATISTICS)}


def faults_of_targets(task: Task, batch: Any) -> list[str]:
    """Take a step: the declared targets get no gradient, and move in `after_step` alone."""
    targets, known = task.targets(), {id(value) for value in task.targets().values()}
    faults = [
        f"{name} is not trained, and no declared target"
        for name, value in task.named_parameters()
        if not value.requires_grad and id(value) not in known
    ]
    before = {name: value.detach().clone() for name, value in targets.items()}
    task.train()
    task.before_step(0, STEPS)
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.1)

    task(batch).loss.backward()
    optimizer.step()

    faults += [f"{name} gets a gradient" for name, t in targets.items() if t.grad is not None]
    faults += [
        f"{name} moves before the step is done"
        for name, value in targets.items()
        if not value.equal(before[name])
    ]
    task.after_step(0, STEPS)
    return faults + [
        f"{name} does not follow the step"
        for name, value in targets.items()
        if value.equal(before[name])
    ]


def faults_of_views(task: Task, batch: Any) -> list[str]:
    """Make views, if the task compares such: the two of a sample differ, and so does all it shows.

    And what a target network makes of a view is not what the same view is compared with.
    """
    views = task.views(batch)
    if views is None:
        return _faults_of_partners(task, batch)
    apart = (views[0] - views[1]).abs().flatten(1).amax(dim=1)
    faults = [f"the two views of sample {row} are the same" for row in _rows(apart < LEAST)]
    shown, _ = task.hide(batch)  # pyright: ignore[reportCallIssue] -- each has its own
    alike = torch.cdist(shown.flatten(1), shown.flatten(1), p=torch.inf) < LEAST
    if alike.sum() > len(shown):
        faults.append("of the pictures that are shown two are the same")
    return faults + _faults_of_partners(task, batch)


def _rows(wrong: Tensor) -> list[int]:
    return wrong.nonzero().flatten().tolist()


def _faults_of_partners(task: Task, batch: Any) -> list[str]:
    """Ask whose target each row is that a target network gives: it is never the very same view's.

    Where a row of it is changed, the gradient changes most in the row that is compared with it.
    """
    trained, *others = task.encoders().values()
    faults: list[str] = []
    for number, target in enumerate(others):
        usual = _Asked(task, batch, trained, target)
        if not usual.target_rows:
            faults.append(f"target network {number} is asked nothing")
        if usual.gradient_flows:
            faults.append(f"the gradient flows through target network {number}")
        for row in range(min(ROWS, usual.target_rows)):
            changed = _Asked(task, batch, trained, target, changing=row)
            moved = (changed.gradient - usual.gradient).flatten(1).norm(dim=1)
            partner = int(moved.argmax())
            if usual.shown[partner].equal(usual.given[row]):
                faults.append(f"view {partner} is its own target")
    return faults


class _Asked:
    """A batch that was scored, and what two networks had to do with it.

    Args:
        task: What scores.
        batch: What is scored.
        trained: The network that is trained.
        target: One that it is compared with.
        changing: The row of the target's answers that is replaced by noise; None for none.

    Attributes:
        shown: (N, C, h, w), what the trained network was shown.
        gradient: (N, D), of the loss by what it made of that.
        given: (M, C, h, w), what the target was shown.
        target_rows: M.
        gradient_flows: Whether its answers have a gradient.
    """

    def __init__(
        self,
        task: Task,
        batch: Any,
        trained: nn.Module,
        target: nn.Module,
        changing: int | None = None,
    ) -> None:
        shown: list[Tensor] = []
        answers: list[Tensor] = []
        given: list[Tensor] = []
        self.gradient_flows = False

        def keep(_: nn.Module, asked: tuple[Tensor, ...], answer: Tensor) -> None:
            answer.retain_grad()
            shown.append(asked[0])
            answers.append(answer)

        def change(_: nn.Module, asked: tuple[Tensor, ...], answer: Tensor) -> Tensor:
            self.gradient_flows |= answer.requires_grad
            first = sum(map(len, given))
            given.append(asked[0])
            if changing is None or not first <= changing < first + len(answer):
                return answer
            noise = torch.randn(answer.shape[1], generator=torch.Generator().manual_seed(0))
            return answer.index_copy(0, torch.tensor([changing - first]), noise[None])

        task.train()
        task.before_step(0, STEPS)
        hooks = [trained.register_forward_hook(keep), target.register_forward_hook(change)]
        try:
            task(batch).loss.backward()
        finally:
            for hook in hooks:
                hook.remove()
            task.zero_grad()
        self.shown = torch.cat(shown)
        self.gradient = torch.cat([a.grad for a in answers if a.grad is not None])
        self.given = torch.cat(given) if given else torch.empty(0)
        self.target_rows = len(self.given)

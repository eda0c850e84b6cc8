"""Base: all tasks are asked alike for what they may do, alone and together."""

import pytest
import torch
from torch import Tensor, nn

from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.tasks.base import Epoch, Needs, Score, Task
from selfsight.tasks.mix import Mix, Together
from selfsight.tasks.rotation import Rotation
from selfsight.training.loop import begin_epoch


class Remembering(Task):
    """A task that does all that a task may do, and remembers what it was asked."""

    needs = Needs(batch=Images)
    epochs_between = 3

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(16, 2)
        self.asked: list[str] = []

    def forward(self, batch: Images) -> Score:
        return Score(self.head(self.encoder(batch.images.float())).square().mean(), {})

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        self.asked.append(f"epoch {epoch.number}: {tuple(epoch.features_of(self.encoder).shape)}")
        return list(self.head.parameters())

    def before_step(self, step: int, steps: int) -> None:
        self.asked.append(f"before {step} of {steps}")

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        self.asked.append(f"after {step} of {steps}")
        return {"moved": torch.tensor(0.5)}

    def rows(self, samples: int) -> Tensor:
        return torch.arange(0, samples, 2)

    def notes(self) -> tuple[str, ...]:
        return ("it remembers",)


def pair() -> tuple[Remembering, Rotation]:
    encoder = build("small", size=16, arguments={"stem": 8, "widths": (8, 16)})
    return Remembering(encoder), Rotation(encoder, encoder.dim, size=16)


def together(mix: Mix) -> Together:
    first, second = pair()
    return Together({"remembering": first, "rotation": second}, mix=mix)


def epoch() -> Epoch:
    return Epoch(2, 0, lambda network: torch.zeros(5, 16))


def test_a_task_that_only_scores_does_nothing_else() -> None:
    task = pair()[1]

    assert task.before_epoch(epoch()) == []
    assert task.after_step(0, 1) == {}
    assert task.rows(10) is None
    assert task.notes() == ()
    assert task.epochs_between == 0
    assert not task.looks
    assert task.encoders() == {"encoder": task.encoder}


def test_tasks_together_are_asked_as_they_are_alone() -> None:
    task = together("sum")
    inner = task.tasks["remembering"]
    assert isinstance(inner, Remembering)

    begun = task.before_epoch(epoch())
    task.before_step(4, 9)
    metrics = task.after_step(4, 9)

    assert inner.asked == ["epoch 2: (5, 16)", "before 4 of 9", "after 4 of 9"]
    assert [p is q for p, q in zip(begun, inner.head.parameters(), strict=True)] == [True, True]
    assert list(metrics) == ["remembering.moved"]
    assert task.notes() == ("remembering: it remembers",)
    assert task.epochs_between == 3
    rows = task.rows(6)
    assert rows is not None
    assert rows.tolist() == [0, 2, 4]


def test_only_those_whose_turn_it_was_follow_the_step() -> None:
    task = together("alternate")

    def followed(step: int) -> list[str]:
        task.before_step(step, 9)
        return list(task.after_step(step, 9))

    assert followed(0) == ["remembering.moved"]
    assert followed(1) == []


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_begins_anew_forgets_how_it_moved(kind: str) -> None:
    """A reset parameter moves as one that never moved; the others keep their momentum."""
    task, fresh = pair()[0], pair()[0]
    fresh.load_state_dict(task.state_dict())

    def optimizer(of: nn.Module) -> torch.optim.Optimizer:
        if kind == "sgd":
            return torch.optim.SGD(of.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
        return torch.optim.AdamW(of.parameters(), lr=0.1, fused=True)

    def stepped(of: Remembering, by: torch.optim.Optimizer, slope: float) -> None:
        for parameter in of.parameters():
            parameter.grad = torch.full_like(parameter, slope)
        by.step()

    old, new = optimizer(task), optimizer(fresh)
    stepped(task, old, 1.0)
    task.load_state_dict(fresh.state_dict())
    begin_epoch(task, epoch(), old)
    stepped(task, old, -0.3)
    stepped(fresh, new, -0.3)

    torch.testing.assert_close(task.head.weight, fresh.head.weight)
    first, other = (next(iter(of.encoder.parameters())) for of in (task, fresh))
    assert not torch.allclose(first, other)

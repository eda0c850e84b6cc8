"""Advice: what to do after a verdict, as a sentence and as a command that can be run as it is.

After pretraining, the first row that fits decides:

    pictures all alike                      give pictures that differ
    collapsed                               the same task at a third of the rate
    solved in the first hundredth of steps  too easy for these pictures: another kind of task
    no better than a blind guess            the same task, four times as long
    labels are there                        probe
    no labels are there                     look at neighbours; label fifty pictures, then probe

After a probe:

    pictures all alike                      give pictures that differ
    collapsed                               as after pretraining
    the patch dictionary a point better     take the dictionary
    learning                                write the features down and use them
    no better than untrained                another kind of task, as long as this one
    too close to tell                       the same task, four times as long
    unknown                                 look at neighbours

There are two kinds of tasks. Some ask about a single picture (which way is up, what is in a hole):
these are trivial if a mark or a border gives the answer away. Others ask which pictures belong
together: these are trivial if a colour gives the answer away. After a task of one kind that taught
nothing, the task of the other kind with the largest gain in `docs/results` is advised: the row of a
task in `tasks/table.py` names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from selfsight.probes.verdict import Solved, Word
from selfsight.system.escaping import shell_quoted
from selfsight.system.paths import found_at
from selfsight.tasks.table import USUAL, WITHOUT_TRAINING, row_of

EASY_SHARE = 0.01  # of the steps
EASY_LOSS = 0.1  # share of a blind guess's cost; below it a task is solved
WORTH = 0.01  # of accuracy: by so much the dictionary must be better to be taken
LOWER_RATE, LONGER = 3, 4  # times


class Advice(NamedTuple):
    """What to do next.

    Attributes:
        words: Why, and what.
        command: What to type; None where nothing typed would help.
    """

    words: str
    command: str | None = None


@dataclass(frozen=True)
class Trained:
    """What a run was.

    Attributes:
        run: Its path.
        data: What it was trained on, as a path from the current folder.
        tasks: Its tasks' names.
        samples: Pictures drawn.
        rate: Peak learning rate; 0 for a task that is fitted in closed form.
        pictures: Flags that say which pictures it was trained on, and at which size.
    """

    run: str
    data: str
    tasks: tuple[str, ...]
    samples: int
    rate: float
    pictures: tuple[str, ...] = ()

    @classmethod
    def kept(cls, run: object, settings: dict[str, Any]) -> "Trained":
        """Read what a run was from its settings.json."""
        plan, asked = settings["plan"], settings.get("asked", {})
        flags = [
            (f"--{name}", str(asked[name]))
            for name in ("limit", "tile", "size")
            if asked.get(name) is not None
        ]
        return cls(
            run=str(run),
            data=found_at(plan["data"], plan.get("data_place")),
            tasks=tuple(plan.get("tasks") or [plan["task"]]),
            samples=plan["steps"] * plan["batch"],
            rate=plan["rate"],
            pictures=tuple(word for flag in flags for word in flag),
        )

    def again(self, task: str, *more: object, longer: int = 1) -> str:
        """Say how to train by a task on the same data, as long as this run or longer."""
        fitted = row_of(task).way == "fitted"
        length = () if fitted else ("--samples", longer * self.samples)
        return command("pretrain", self.data, "--task", task, *self.pictures, *length, *more)

    def at_a_lower_rate(self) -> str:
        """Say how to train the same at a lower rate."""
        tasks = [word for name in self.tasks[1:] for word in ("--task", name)]
        return self.again(self.tasks[0], *tasks, "--rate", f"{self.rate / LOWER_RATE:.2g}")


def lines(record: dict[str, Any]) -> list[str]:
    """Write the advice of a record for people; a record of an older run has none."""
    advised = record.get("next")
    if advised is None:
        return []
    typed = [] if advised["command"] is None else [f"next: {advised['command']}"]
    return [advised["words"], *typed]


def command(*words: object) -> str:
    """Write a command, quoted for a shell."""
    return " ".join(["selfsight", *map(shell_quoted, words)])


def after_pretraining(
    of: Trained,
    word: Word,
    *,
    alike: bool,
    solved: Sequence[Solved],
    early: float | None,
    labelled: bool,
) -> Advice:
    """Say what to do after pretraining.

    Args:
        of: The run.
        word: Its verdict.
        alike: Whether the pictures are all alike.
        solved: How far each task is solved at the end.
        early: The loss after the first `EASY_SHARE` of the steps; None if it was not logged then.
        labelled: Whether the pictures have classes.
    """
    if found := _nothing_to_learn(of, word, alike=alike):
        return found
    one = solved[0]
    if len(solved) == 1 and one.blind is not None and one.loss is not None and of.rate > 0:
        if early is not None and early < EASY_LOSS * one.blind and row_of(one.task).pretext:
            return Advice(
                f"{one.task} was solved in the first {EASY_SHARE:.0%} of the steps: it is too easy "
                f"for these pictures and teaches little. Try {row_of(one.task).instead}.",
                of.again(row_of(one.task).instead),
            )
        if not one.loss < one.blind:
            return Advice("Train longer.", of.again(one.task, longer=LONGER))
    if labelled:
        return Advice("The pictures have labels: ask every layer.", command("probe", of.run))
    return Advice(
        "See which pictures are similar to it. To know more, sort fifty pictures into one folder "
        "for each class, and probe with these.",
        command("neighbours", of.run),
    )


def early_loss(rows: Sequence[Mapping[str, float]], steps: int) -> float | None:
    """Give the loss at the end of the first `EASY_SHARE` of the steps.

    Args:
        rows: Logged steps, oldest first.
        steps: Of the whole training.

    Returns:
        None if nothing was logged by then.
    """
    early = [row["loss"] for row in rows if 0 < row["step"] <= EASY_SHARE * steps]
    return early[-1] if early else None


def after_probe(
    of: Trained | None,
    word: str,
    *,
    network: str,
    data: str,
    alike: bool = False,
    trained: float | None = None,
    dictionary: float | None = None,
) -> Advice:
    """Say what to do after a probe.

    Args:
        of: The run that was probed; None for a network of timm's.
        word: The verdict.
        network: What was probed, as asked.
        data: The pictures, as asked.
        alike: Whether they are all alike.
        trained: Accuracy of the network, in [0, 1], where there were labels.
        dictionary: That of the patch dictionary, if it was probed.
    """
    if found := _nothing_to_learn(of, word, alike=alike):
        return found
    of_dictionary = of is not None and of.tasks == (WITHOUT_TRAINING,)
    if (
        trained is not None
        and dictionary is not None
        and dictionary - trained >= WORTH
        and not of_dictionary
    ):
        return Advice(
            "The patch dictionary is better here, and needs no training: take it.",
            command("pretrain", data, "--task", WITHOUT_TRAINING),
        )
    if word == "learning":
        return Advice(
            "Use what it learned: write the features of your pictures down.",
            command("embed", network, data, "--out", "features.parquet"),
        )
    if word == "unknown":
        return Advice("See which pictures are similar to it.", command("neighbours", network, data))
    if of is None:
        return Advice(
            "Go on from its weights with your own pictures.",
            command("pretrain", data, "--task", USUAL, "--from", network),
        )
    if word == "too close to tell" and of.rate > 0 and len(of.tasks) == 1:
        return Advice("Train longer.", of.again(of.tasks[0], longer=LONGER))
    other = row_of(of.tasks[0]).instead
    if other in of.tasks:
        return Advice("Train longer.", of.again(other, longer=LONGER))
    return Advice(f"Try another kind of task: {other}.", of.again(other))


def _nothing_to_learn(of: Trained | None, word: str, *, alike: bool) -> Advice | None:
    """Say what to do if features do not differ from each other; None if they do."""
    if alike:
        return Advice("Give pictures that differ from each other.")
    if word != "collapsed":
        return None
    if of is None or of.rate == 0:
        return Advice("Give other pictures, or another network.")
    return Advice("Train again at a lower rate.", of.at_a_lower_rate())

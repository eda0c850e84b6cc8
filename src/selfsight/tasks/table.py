"""Table of tasks: one row for each pretext method, with all that is known of it by name.

Nothing is loaded until it is needed, so that listing the names needs no torch.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from selfsight.errors import unknown_name
from selfsight.system.loading import object_at

if TYPE_CHECKING:
    from selfsight.encoders import Encoder
    from selfsight.tasks.base import Task


class Lesson(NamedTuple):
    """A short training on real data after which a task must have learned something.

    `tests/lessons.py` explains how its length is chosen, and measures it.

    Attributes:
        samples: Samples drawn; None for a task that is fitted in closed form.
        data: The data set, as `tests/lessons.py` names it.
        settings: Further flags of `pretrain`, by name.
    """

    samples: int | None
    data: str = "cifar10"
    settings: Mapping[str, Any] = {}


class Row(NamedTuple):
    """A task's row in the table.

    Attributes:
        target: The class: "module:Class".
        modality: Name of the modality it learns from.
        way: Whether it is trained by gradients or fitted in closed form.
        blind: Whether a blind guess has a known cost.
        sheet: The `TaskSheet` that draws its questions and answers: "module:OBJECT".
        lesson: The short training that proves that it learns.
        instead: The task to advise if this one taught nothing; see `probes/advice.py`.
        pretext: Whether the answers it learns from are in the data itself; False for the
            supervised reference, which learns from labels.
        application: The `Application` that says how `apply` uses the trained task:
            "module:OBJECT". None if its answers are not pictures.
    """

    target: str
    modality: str
    way: Literal["trained", "fitted"]
    blind: bool
    sheet: str
    lesson: Lesson
    instead: str
    pretext: bool = True
    application: str | None = None


TASKS: dict[str, Row] = {
    "relative-position": Row(
        "selfsight.tasks.relative_position:RelativePosition",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.relative_position:SHEET",
        lesson=Lesson(16_000, "caltech30", {"size": 64}),
        instead="simclr",
    ),
    "jigsaw": Row(
        "selfsight.tasks.jigsaw:Jigsaw",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.jigsaw:SHEET",
        lesson=Lesson(20_000),
        instead="simclr",
    ),
    "colorization": Row(
        "selfsight.tasks.colorization:Colorization",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.colorization:SHEET",
        lesson=Lesson(30_000),
        instead="simclr",
        application="selfsight.looks.photographs.applications:COLOURING",
    ),
    "colorization-vae": Row(
        "selfsight.tasks.colorization_vae:ColorizationVAE",
        modality="pictures",
        way="trained",
        blind=False,
        sheet="selfsight.looks.sheets.colorization_vae:SHEET",
        lesson=Lesson(30_000),
        instead="simclr",
        application="selfsight.looks.photographs.applications:SEVERAL_COLOURINGS",
    ),
    "inpainting": Row(
        "selfsight.tasks.inpainting:Inpainting",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.inpainting:SHEET",
        lesson=Lesson(40_000),
        instead="simclr",
        application="selfsight.looks.photographs.applications:FILLING",
    ),
    "rotation": Row(
        "selfsight.tasks.rotation:Rotation",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.rotation:SHEET",
        lesson=Lesson(20_000),
        instead="simclr",
    ),
    "simclr": Row(
        "selfsight.tasks.simclr:SimCLR",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.contrast:SHEET",
        lesson=Lesson(30_000),
        instead="rotation",
    ),
    "moco": Row(
        "selfsight.tasks.moco:MoCo",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.contrast:SHEET",
        lesson=Lesson(40_000),
        instead="rotation",
    ),
    "moco-v2": Row(
        "selfsight.tasks.moco_v2:MoCoV2",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.contrast:SHEET",
        lesson=Lesson(40_000),
        instead="rotation",
    ),
    "exemplar": Row(
        "selfsight.tasks.exemplar:Exemplar",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.exemplar:SHEET",
        lesson=Lesson(40_000),
        instead="rotation",
    ),
    "instance-discrimination": Row(
        "selfsight.tasks.instance_discrimination:InstanceDiscrimination",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.contrast:SHEET",
        lesson=Lesson(30_000),
        instead="rotation",
    ),
    "pirl": Row(
        "selfsight.tasks.pirl:PIRL",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.pirl:SHEET",
        lesson=Lesson(40_000),
        instead="rotation",
    ),
    "deepcluster": Row(
        "selfsight.tasks.deepcluster:DeepCluster",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.deepcluster:SHEET",
        lesson=Lesson(50_000),
        instead="rotation",
    ),
    "patch-dictionary": Row(
        "selfsight.tasks.patch_dictionary:PatchDictionary",
        modality="pictures",
        way="fitted",
        blind=True,
        sheet="selfsight.looks.sheets.patch_dictionary:SHEET",
        lesson=Lesson(None),
        instead="simclr",
    ),
    "supervised": Row(
        "selfsight.tasks.supervised:Supervised",
        modality="pictures",
        way="trained",
        blind=True,
        sheet="selfsight.looks.sheets.supervised:SHEET",
        lesson=Lesson(20_000),
        instead="simclr",
        pretext=False,
    ),
}

USUAL = "simclr"  # advised where nothing is known yet
WITHOUT_TRAINING = "patch-dictionary"  # the baseline beside every network


def row_of(name: str) -> Row:
    """Look up a task's row.

    Raises:
        UsageError: If no task has that name.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def load_task(name: str) -> "type[Task]":
    """Load a task's class.

    Raises:
        UsageError: If there is none of that name.
    """
    return object_at(row_of(name).target)


def make_task(name: str, encoder: "Encoder", **given: Any) -> "Task":
    """Make a task around an encoder, with the run's arguments and the task's settings.

    Raises:
        UsageError: If no task has that name.
        ValueError: If a setting is outside its range, or the encoder does not suit the task.
    """
    made = cast("Callable[..., Task]", load_task(name))
    return made(encoder, encoder.dim, **given)

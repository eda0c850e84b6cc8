"""Tasks: one pretext method a file, named in one literal table.

All that is known of a task by its name alone stands in its row. Nothing is loaded until it is asked
for, so that listing the names needs no torch.
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

    `tests/lessons.py` says by which rule its length is chosen, and measures it.

    Attributes:
        samples: Samples drawn; None for a task that is fitted in closed form.
        data: The data set, as `tests/lessons.py` names it.
        settings: Further flags of `pretrain`, by name.
    """

    samples: int | None
    data: str = "cifar10"
    settings: Mapping[str, Any] = {}


class Row(NamedTuple):
    """What the table says of a task.

    Attributes:
        target: Where it is: "module:Class".
        modality: What it learns from.
        way: Whether it is trained by gradients or fitted in closed form.
        blind: Whether a guess without looking has a known cost.
        sheet: Where its sheet of questions and answers is, a `TaskSheet`: "module:OBJECT".
        lesson: The short training that proves that it learns.
        instead: The task that is advised where this one taught nothing; see `probes/advice.py`.
        pretext: Whether the answers it learns from are in the data itself. The labels that people
            gave to pictures are not: who learns from these is the reference.
        application: Where it is said how `apply` uses the trained task, an `Application`:
            "module:OBJECT". None if it has no answer that is a picture.
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
    """Look a task up.

    Raises:
        UsageError: If there is none of that name.
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
    """Make a task around an encoder, with what is given it by the run and by its settings.

    Raises:
        UsageError: If there is none of that name.
        ValueError: If a setting is outside its range, or the encoder does not suit the task.
    """
    made = cast("Callable[..., Task]", load_task(name))
    return made(encoder, encoder.dim, **given)

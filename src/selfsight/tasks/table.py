"""Tasks: one pretext method a file, named in one literal table.

Nothing is loaded until a task is asked for, so that listing the names needs no torch.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from selfsight.errors import unknown_name

if TYPE_CHECKING:
    from selfsight.encoders import Encoder
    from selfsight.tasks.base import Task


class Row(NamedTuple):
    """What the table says of a task.

    Attributes:
        target: Where it is: "module:Class".
        modality: What it learns from.
        way: Whether it is trained by gradients or fitted in closed form.
        blind: Whether a guess without looking has a known cost.
    """

    target: str
    modality: Literal["pictures"]
    way: Literal["trained", "fitted"]
    blind: bool


TASKS: dict[str, Row] = {
    "relative-position": Row(
        "selfsight.tasks.relative_position:RelativePosition", "pictures", "trained", True
    ),
    "jigsaw": Row("selfsight.tasks.jigsaw:Jigsaw", "pictures", "trained", True),
    "colorization": Row("selfsight.tasks.colorization:Colorization", "pictures", "trained", True),
    "colorization-vae": Row(
        "selfsight.tasks.colorization_vae:ColorizationVAE", "pictures", "trained", False
    ),
    "inpainting": Row("selfsight.tasks.inpainting:Inpainting", "pictures", "trained", True),
    "rotation": Row("selfsight.tasks.rotation:Rotation", "pictures", "trained", True),
    "simclr": Row("selfsight.tasks.simclr:SimCLR", "pictures", "trained", True),
    "moco": Row("selfsight.tasks.moco:MoCo", "pictures", "trained", True),
    "moco-v2": Row("selfsight.tasks.moco_v2:MoCoV2", "pictures", "trained", True),
    "exemplar": Row("selfsight.tasks.exemplar:Exemplar", "pictures", "trained", True),
    "instance-discrimination": Row(
        "selfsight.tasks.instance_discrimination:InstanceDiscrimination",
        "pictures",
        "trained",
        True,
    ),
    "pirl": Row("selfsight.tasks.pirl:PIRL", "pictures", "trained", True),
    "deepcluster": Row("selfsight.tasks.deepcluster:DeepCluster", "pictures", "trained", True),
    "patch-dictionary": Row(
        "selfsight.tasks.patch_dictionary:PatchDictionary", "pictures", "fitted", True
    ),
    "supervised": Row("selfsight.tasks.supervised:Supervised", "pictures", "trained", True),
}


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
    module, _, attribute = row_of(name).target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_task(name: str, encoder: "Encoder", **given: Any) -> "Task":
    """Make a task around an encoder, with what is given it by the run and by its settings.

    Raises:
        UsageError: If there is none of that name.
        ValueError: If a setting is outside its range, or the encoder does not suit the task.
    """
    made = cast("Callable[..., Task]", load_task(name))
    return made(encoder, encoder.dim, **given)

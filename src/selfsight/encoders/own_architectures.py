"""Our own architectures: their names for users and in timm, and what their builders share."""

from typing import Any

# From the name a user gives to the name registered with timm, which timm knows only after this
# package is imported. Names that no one else is likely to use are the same in both.
OWN = {
    "small": "selfsight_small",
    "alexnet": "selfsight_alexnet",
    "resnet18_small": "resnet18_small",
    "resnet34_small": "resnet34_small",
    "resnet50_small": "resnet50_small",
    "patch-dictionary": "selfsight_patch_dictionary",
}
_FOR_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only")


def class_arguments(name: str, pretrained: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the arguments that `timm.create_model` adds for itself.

    Args:
        name: The architecture's timm name.
        pretrained: Whether weights were asked for.
        arguments: What the registered builder got.

    Raises:
        RuntimeError: If weights were asked for: none are published for these architectures.
    """
    if pretrained:
        raise RuntimeError(f"no pretrained weights of {name} exist")
    return {key: value for key, value in arguments.items() if key not in _FOR_TIMM}

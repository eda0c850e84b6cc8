"""Our own architectures: the names they are asked by, and what their timm builders share."""

from typing import Any

# From the name a user gives to the name registered with timm, there only after importing this
# package. Names that are long enough to be nobody else's stand for themselves.
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
    """Leave what `timm.create_model` adds for itself out of a class's keyword arguments.

    Args:
        name: The architecture's timm name.
        pretrained: Whether weights were asked for.
        arguments: What the registered builder got.

    Raises:
        RuntimeError: If weights were asked for: nobody publishes any for these.
    """
    if pretrained:
        raise RuntimeError(f"no pretrained weights of {name} exist")
    return {key: value for key, value in arguments.items() if key not in _FOR_TIMM}

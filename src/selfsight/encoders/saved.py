"""Saved encoders: two files that are written, read back and checked.

    encoder.safetensors   the state of the encoder's body: of pictures the timm model's own
    encoder.json          the recipe, and the SHA-256 of the weights that it belongs to

Nothing in them is executed. While weights are replaced, `encoder.json` lists the hashes of both the
old and the new ones, so that a kill at any moment leaves two files that belong together.
"""

import contextlib
import hashlib
import os
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from selfsight.encoders.base import BaseEncoder, BaseRecipe, recipe_of
from selfsight.encoders.bounds import TooLarge, no_larger_than
from selfsight.encoders.finite import refuse_non_finite
from selfsight.errors import SelfsightError, in_a_line, out_of_memory
from selfsight.system.atomic import ANOTHER, write_bytes, write_json
from selfsight.system.escaping import shell_quoted
from selfsight.system.validation import Damaged, check_value, read_record

WEIGHTS = "weights"  # the key of the hashes, beside those of the recipe
_COPY = "copy both files again"
# What building and loading raise where a recipe and its weights do not belong together.
_DAMAGE = (
    SafetensorError,
    TooLarge,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    IndexError,
    ArithmeticError,
    RecursionError,
    RuntimeError,
)


class _Files(NamedTuple):
    """The two files of an encoder."""

    recipe: Path
    weights: Path

    @classmethod
    def of(cls, folder: Path, stem: str) -> "_Files":
        return cls(folder / f"{stem}.json", folder / f"{stem}.safetensors")


def save(
    encoder: BaseEncoder, folder: Path, *, stem: str = "encoder", another: str = ANOTHER
) -> None:
    """Write `stem`.safetensors and `stem`.json, each beside its place and then renamed.

    Raises:
        SelfsightError: If one cannot be written; `another` is a further remedy, see `atomic`.
    """
    files = _Files.of(folder, stem)
    state = {key: value.cpu().contiguous() for key, value in encoder.body.state_dict().items()}
    content = safetensors.torch.save(state)
    new, recipe = _digest(content), encoder.recipe.to_json()
    write_json(
        files.recipe, {**recipe, WEIGHTS: [*_digests_before(files, new), new]}, another=another
    )
    write_bytes(files.weights, content, another=another)
    write_json(files.recipe, {**recipe, WEIGHTS: [new]}, another=another)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digests_before(files: _Files, new: str) -> list[str]:
    """Give the hashes of the weights that are there already, if they belong to a recipe."""
    with contextlib.suppress(SelfsightError, OSError, ValueError):
        known = _read_recipe(files.recipe, _COPY)[1]
        if known is None:  # written by an older selfsight
            known = [_digest(files.weights.read_bytes())]
        return [one for one in known if one != new]
    return []


def load(folder: Path, *, stem: str = "encoder", remedy: str = _COPY) -> BaseEncoder:
    """Read an encoder that `save` wrote.

    Args:
        folder: Where it lies.
        stem: What its files are called, without their suffixes.
        remedy: What to do if they are damaged, as the end of a sentence.

    Raises:
        SelfsightError: If the files are missing or damaged, or hold NaN or infinity.
    """
    files = _Files.of(folder, stem)
    missing = [file.name for file in files if not os.path.lexists(file)]
    if missing:
        told = "a run writes it when it first saves" if remedy == _COPY else remedy
        raise SelfsightError(f"{folder} holds no encoder: {missing[0]} is missing; {told}")
    try:
        encoder = _read(files, remedy)
    except Damaged as error:
        raise SelfsightError(
            f"the encoder in {folder} is damaged: {error.path.name}: {error.fault}; {remedy}"
        ) from error
    refuse_non_finite(encoder.body.state_dict(), f"the weights in {files.weights}")
    return encoder.eval()


def _read(files: _Files, remedy: str) -> BaseEncoder:
    """Read both files, build the network and fill it."""
    recipe, digests = _read_recipe(files.recipe, remedy)
    state = _read_weights(files, digests, remedy)
    try:
        return _filled(recipe, state)
    except _DAMAGE as error:
        if out_of_memory(error):
            raise
        fault = f"it must describe {files.weights.name}, and does not: {in_a_line(error)}"
        raise Damaged(files.recipe, fault, remedy) from error


def _read_recipe(path: Path, remedy: str) -> tuple[BaseRecipe[Any], list[str] | None]:
    """Read `encoder.json`: -> the recipe, and hashes of its weights, None from older versions."""
    values = read_record(path, remedy=remedy)
    digests = values.pop(WEIGHTS, None)
    try:
        check_value(digests, list[str] | None, WEIGHTS)
        return recipe_of(values), digests
    except ValueError as error:
        raise Damaged(path, str(error), remedy) from None


def _read_weights(files: _Files, digests: list[str] | None, remedy: str) -> dict[str, Tensor]:
    """Read the weights, and check that they belong to the recipe."""
    try:
        if not stat.S_ISREG(files.weights.stat().st_mode):
            raise Damaged(files.weights, "it must be a file, and is not", remedy)
        content = files.weights.read_bytes()  # safetensors itself opens only UTF-8 paths
    except OSError as error:
        raise SelfsightError(
            f"{files.weights} could not be read: {error.strerror or error}"
        ) from error
    if digests is not None and _digest(content) not in digests:
        raise Damaged(
            files.weights,
            f"its SHA-256 must be what {files.recipe.name} says, and is {_digest(content)[:12]}…",
            remedy,
        )
    try:
        return safetensors.torch.load(content)
    except _DAMAGE as error:
        if out_of_memory(error):
            raise
        raise Damaged(files.weights, in_a_line(error), remedy) from error


def _filled(recipe: BaseRecipe[Any], state: Mapping[str, Tensor]) -> BaseEncoder:
    """Build the network of a recipe and load its weights, after checking names and shapes."""
    with torch.random.fork_rng(devices=[]), no_larger_than(v.shape for v in state.values()):
        with torch.device("meta"), warnings.catch_warnings():  # has shapes but no values
            warnings.simplefilter("ignore")  # torch warns of modules without values
            twin = recipe.built()
        compare(twin.body.state_dict(), state)
        encoder = recipe.built(like=twin)
    encoder.body.load_state_dict(state, strict=True)
    return encoder


def compare(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights of other names, shapes or dtypes.

    Raises:
        ValueError: Names the first that differs.
    """
    for name in [*wanted, *found]:
        if name not in found:
            raise ValueError(f"weights {name} are missing")
        if name not in wanted:
            raise ValueError(f"weights {name} belong to none of its {len(wanted)} tensors")
        new, old = found[name], wanted[name]
        if new.shape != old.shape:
            raise ValueError(f"weights {name} are {_told(new)} and must be {_told(old)}")
        if new.is_complex() or new.is_floating_point() != old.is_floating_point():
            raise ValueError(f"weights {name} are {new.dtype} and must be {old.dtype}")


def _told(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def how_to_restore(run: Path, stem: str = "encoder") -> str:
    """Tell the user how to restore a run's encoder from its checkpoint."""
    place = shell_quoted(run)
    return (
        f"selfsight pretrain --resume {place} writes it again from the checkpoint; or copy "
        f"{stem}.json and {stem}.safetensors again"
    )

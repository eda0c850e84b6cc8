"""Applications: how `apply` uses a trained task whose answer is a picture.

A task is used for photographs if its row in `tasks/table.py` names one of these.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from selfsight.layers.color_bins import LEAST_TEMPERATURE
from selfsight.looks.photographs import large
from selfsight.tasks.colorization import Colorization
from selfsight.tasks.colorization_vae import ColorizationVAE
from selfsight.tasks.inpainting import Inpainting

COLOURINGS = 4  # of every photograph, where their number was not asked for


class Request(NamedTuple):
    """What is asked of a task besides the photograph itself.

    Attributes:
        ways: How many colourings; None for the default.
        temperature: At least 0: 0 gives the likeliest colours, 1 the mean of all colours by their
            probabilities; None for the task's own.
        seed: Seed of the colourings.
        device: Where to compute.
    """

    ways: int | None = None
    temperature: float | None = None
    seed: int = 0
    device: str = "cpu"


class Application(ABC):
    """What is done to a photograph by a trained task.

    Attributes:
        flags: The flags of `apply` that only this application uses.
        hides: What the network does not see of the photograph: its colours, or the hole.
    """

    flags: ClassVar[tuple[str, ...]]
    hides: ClassVar[Literal["colours", "hole"]] = "colours"

    def results(self, name: str, request: Request) -> list[str]:
        """Name the files of the results, given the photograph's name without a suffix."""
        return [f"{name}.png"]

    @abstractmethod
    def answers(
        self, task: Any, pixels: Tensor, hole: Tensor | None, request: Request
    ) -> list[Tensor]:
        """Ask the task about one photograph.

        Args:
            task: The task, trained, in evaluation mode on the request's device.
            pixels: (C, H, W) as stored.
            hole: (H, W) bool; None where the application hides no hole.
            request: What else was asked.

        Returns:
            Pictures (C, H, W) uint8, as many as `results` names.
        """


class Colouring(Application):
    """Colours a photograph."""

    flags = ("temperature",)

    def answers(
        self, task: Colorization, pixels: Tensor, hole: Tensor | None, request: Request
    ) -> list[Tensor]:
        """Colour the photograph once."""
        temperature = request.temperature
        if temperature is not None:
            temperature = max(temperature, LEAST_TEMPERATURE)
        return large.colour_photograph(
            pixels,
            lambda one: task.colours(one, temperature=temperature),
            1,
            device=request.device,
        )


class SeveralColourings(Application):
    """Colours a photograph in several ways."""

    flags = ("ways",)

    def results(self, name: str, request: Request) -> list[str]:
        """Name a file for each colouring, numbered from 1."""
        return [f"{name}-{k}.png" for k in range(1, (request.ways or COLOURINGS) + 1)]

    def answers(
        self, task: ColorizationVAE, pixels: Tensor, hole: Tensor | None, request: Request
    ) -> list[Tensor]:
        """Colour the photograph, the likeliest way first."""
        count = request.ways or COLOURINGS
        return large.colour_photograph(
            pixels,
            lambda one: task.ways(one, count, seed=request.seed)[0],
            count,
            device=request.device,
        )


class Filling(Application):
    """Fills the hole of a photograph."""

    flags = ("mask", "box")
    hides = "hole"

    def answers(
        self, task: Inpainting, pixels: Tensor, hole: Tensor | None, request: Request
    ) -> list[Tensor]:
        """Fill the hole."""
        assert hole is not None  # it is asked for before
        return [
            large.fill_photograph(
                pixels,
                hole,
                task.filled,
                least=task.size,
                share=task.share,
                device=request.device,
            )
        ]


COLOURING, SEVERAL_COLOURINGS, FILLING = Colouring(), SeveralColourings(), Filling()

"""Phantoms of an experiment that are others in each iteration of its optimization."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import load_loss_maker, make_loss
from pulseq_zero.experiments.models import SequenceModels, start_images
from pulseq_zero.experiments.reconstruction import Images, one_or_all
from pulseq_zero.experiments.settings import Experiment, LossSettings, PhantomsSettings
from pulseq_zero.files.loading import call, load_function
from pulseq_zero.optimization.loss import (
    Acquired,
    Loss,
    LossFunction,
    Parameters,
    evaluate_loss,
)
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.optimization.steppers import Values
from pulseq_zero.phantom import Phantom

if TYPE_CHECKING:
    from pulseq_zero.imaging.acquisition import Acquisition

# The argument by which a function asks for the experiment's own phantom
_OWN = "phantom"
# How many losses are kept: those of an iteration's phantoms are used again where it is verified
_KEPT = 16


def check_phantoms(given: PhantomsSettings | None) -> None:
    """Check that the function of a section ``phantoms`` can be called as it says.

    Raises
    ------
    ConfigError
        If there is no such function, or if it takes no iteration, or no such setting.
    """
    if given is None:
        return
    function = load_function(given.function)
    asked = inspect.signature(function)
    own = {_OWN: None} if _OWN in asked.parameters else {}
    try:
        asked.bind(0, **{**own, **given.settings})
    except TypeError as error:
        raise ConfigError(f"phantoms {given.function!r}: {error}") from error


def phantoms_by_iteration(
    given: PhantomsSettings, own: Phantom
) -> Callable[[int], Phantom | list[Phantom]]:
    """Make the function of the iteration that a section ``phantoms`` names.

    Parameters
    ----------
    given
        The section.
    own
        The experiment's own phantom, for functions that have an argument ``phantom``.

    Raises
    ------
    ConfigError
        Of the function, if the named one fails, or returns no phantom.
    """
    function = load_function(given.function)
    named = {_OWN: own} if _OWN in inspect.signature(function).parameters else {}
    return partial(_made, given.function, partial(function, **{**named, **given.settings}))


def _made(name: str, function: Callable[[int], Any], iteration: int) -> Phantom | list[Phantom]:
    place = f"phantoms {name!r}, iteration {iteration}:"
    made = call(f"{place} it", function, iteration, error=ConfigError)
    each = list(made) if isinstance(made, list | tuple) else [made]
    wrong = [type(one).__name__ for one in each if not isinstance(one, Phantom)]
    if wrong or not each:
        raise ConfigError(
            f"{place} it returns {wrong[0] if wrong else 'nothing'}, but must return a "
            "pulseq_zero.Phantom, or a list of them"
        )
    return made if isinstance(made, Phantom) else each


@dataclass(frozen=True)
class StartImages:
    """Simulates the images at the start values on phantoms.

    Attributes
    ----------
    experiment
        The experiment.
    models
        Of its sequences.
    start
        The start values.
    """

    experiment: Experiment
    models: SequenceModels
    start: Values

    def on(self, phantom: Phantom) -> Images:
        """Return the images of a phantom by the names of the sequences."""
        return start_images(self.experiment, self.models.on(phantom), self.start)


class _Context(LossContext):
    """What the loss on another phantom is made of: its start image is simulated if asked for."""

    _own: LossContext
    _images: StartImages

    def __init__(self, own: LossContext, phantom: Phantom, images: StartImages) -> None:
        kept = {name: value for name, value in vars(own).items() if name != "start_image"}
        vars(self).update(kept, phantom=phantom, _own=own, _images=images)

    @cached_property
    def start_image(self) -> Any:
        """(..., x, y[, z]) of the phantom at the start values, as of an experiment's own."""
        return one_or_all(self._images.on(self.phantom))

    @property
    def matrix(self) -> tuple[int, ...]:
        """Pixels of the image, which are those of the experiment's own phantom."""
        return self._own.matrix


class LossByPhantom:
    """The loss of an experiment whose phantoms change: made anew for each of them.

    Parameters
    ----------
    given
        The experiment's section ``loss``.
    own
        What the loss on the experiment's own phantom is made of.
    images
        Simulates start images, for losses that ask for them.
    """

    def __init__(self, given: LossSettings, own: LossContext, images: StartImages) -> None:
        self._given, self._own, self._images = given, own, images
        # What a checkpoint must share with the run that goes on from it
        self.made_of = [load_loss_maker(given), given.settings, _tensors_of(own)]
        self._losses: deque[tuple[Phantom, LossFunction]] = deque(maxlen=_KEPT)

    def __call__(self, parameters: Parameters, acquisition: Acquired, iteration: int) -> Loss:
        """Return the loss, or its terms, on what was imaged."""
        first = acquisition
        if isinstance(acquisition, Mapping):
            first = next(iter(acquisition.values()))
        imaged = cast("Acquisition", first).phantom
        found = evaluate_loss(self._loss_on(imaged), parameters, acquisition, iteration)
        return found.terms or found.total

    def _loss_on(self, phantom: Any) -> LossFunction:
        for known, loss in self._losses:
            if known is phantom:
                return loss
        loss = make_loss(self._given, _Context(self._own, phantom, self._images))
        self._losses.append((phantom, loss))
        return loss


def _tensors_of(context: LossContext) -> list[Tensor]:
    image = context.start_image
    images = list(image.values()) if isinstance(image, Mapping) else [image]
    return [*images, *context.start_parameters.values()]

"""The sequence functions of an optimization, and which parameters each of them takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pypulseq
from torch import Tensor

from pulseq_zero.errors import OptimizationError
from pulseq_zero.files.loading import check_arguments
from pulseq_zero.imaging.model import ImagingModel, SequenceFunction
from pulseq_zero.optimization.loss import Acquired
from pulseq_zero.optimization.parameters import Parameter, plain
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.phantom.imaged import Imaged

# The name of a sequence that is the only one
_ALONE = ""


class Sequences:
    """One sequence function, or several by their names, or one that returns several so.

    One takes all parameters, of several each those that are arguments of it. Parameters that are
    not ``in_sequence`` are left to the loss.

    Parameters
    ----------
    given
        The function, or a mapping of functions.
    parameters
        The parameters of the optimization.
    arguments
        Further arguments.

    Raises
    ------
    OptimizationError
        If there is no sequence, if none of several takes a parameter or argument, or if one is both
        a parameter and an argument.
    SequenceError
        If a function cannot be called so.
    """

    def __init__(
        self,
        given: SequenceFunction | Mapping[str, SequenceFunction],
        parameters: Mapping[str, Parameter],
        arguments: Mapping[str, Any],
    ) -> None:
        names = [name for name, parameter in parameters.items() if parameter.in_sequence]
        both = [name for name in names if name in arguments]
        if both:
            raise OptimizationError(f"{both[0]!r} is both a parameter and an argument; remove one")
        self.functions: Mapping[str, SequenceFunction]
        if isinstance(given, Mapping):
            self.functions = given
        else:
            check_arguments(given, [*names, *arguments])
            start = plain({name: parameters[name].start for name in names})
            self.functions = _parts(given, {**start, **arguments}) or {_ALONE: given}
        self.is_one = _ALONE in self.functions
        if not self.functions:
            raise OptimizationError("there is no sequence function; name at least one")
        wanted = [*names, *arguments]
        taken = {
            name: wanted if self.is_one else taken_by(function, wanted)
            for name, function in self.functions.items()
        }
        for name, function in self.functions.items():
            check_arguments(function, taken[name])
        everywhere = {each for of_one in taken.values() for each in of_one}
        nowhere = [name for name in wanted if name not in everywhere]
        if nowhere:
            raise OptimizationError(
                f"no sequence function has an argument {nowhere[0]!r}; if only the loss needs it, "
                "make it a Parameter with in_sequence=False"
            )
        self._parameters = {name: [p for p in names if p in of_it] for name, of_it in taken.items()}
        self._arguments = {
            name: {key: value for key, value in arguments.items() if key in of_it}
            for name, of_it in taken.items()
        }

    def models(
        self, phantom: Imaged, accuracy: float, settings: OptimizationSettings
    ) -> dict[str, ImagingModel]:
        """Make the imaging model of each sequence on a phantom."""
        return {
            name: ImagingModel(
                function,
                phantom,
                arguments=self._arguments[name],
                matrix=settings.matrix,
                fov=settings.fov,
                reconstruction=settings.reconstruction,
                accuracy=accuracy,
                pulses=settings.pulses,
                simulation=settings.simulation,
            )
            for name, function in self.functions.items()
        }

    def acquire(self, models: Mapping[str, ImagingModel], values: Mapping[str, Tensor]) -> Acquired:
        """Acquire all sequences at some values of the parameters."""
        acquired = {
            name: model({p: values[p] for p in self._parameters[name]})
            for name, model in models.items()
        }
        return acquired[_ALONE] if self.is_one else acquired


def _parts(
    function: SequenceFunction, given: Mapping[str, Any]
) -> dict[str, SequenceFunction] | None:
    """Make a function of each of the sequences that a function returns by their names.

    Parameters
    ----------
    function
        The function, which is run once, as it is.
    given
        Its arguments.

    Returns
    -------
    dict
        The functions; None where it returns anything else.
    """
    try:
        made = function(**given)
    except (Exception, SystemExit):
        # Whoever traces it says what is wrong
        return None
    if not isinstance(made, Mapping) or not made:
        return None
    return {str(name): partial(_part, function, name) for name in made}


def _part(function: Callable[..., Any], name: str, /, **given: Any) -> pypulseq.Sequence:
    """Run a function that returns several sequences, and take one of them."""
    made: pypulseq.Sequence = function(**given)[name]
    return made


def taken_by(function: SequenceFunction, wanted: list[str]) -> list[str]:
    """Return those of some names that are arguments of a function."""
    if not callable(function):
        return wanted
    arguments = inspect.signature(function).parameters
    if any(a.kind is inspect.Parameter.VAR_KEYWORD for a in arguments.values()):
        return wanted
    return [name for name in wanted if name in arguments]

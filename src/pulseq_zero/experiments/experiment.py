"""One experiment: what its config names, loaded and ready to use."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pypulseq
import torch
from torch import Tensor

from pulseq_zero.conversion.options import Pulses
from pulseq_zero.errors import ConfigError, OptimizationError, PulseqZeroError, SequenceError
from pulseq_zero.experiments.modules import without_modules
from pulseq_zero.experiments.settings import (
    LossSettings,
    OptimizerSettings,
    ParameterSettings,
    SequenceSettings,
    TorchSettings,
)
from pulseq_zero.experiments.stages import START, iteration_of, point_of
from pulseq_zero.files.loading import check_arguments, failure, load_function
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.model import SequenceFunction
from pulseq_zero.optimization.loss import LossFunction, check_loss_function
from pulseq_zero.optimization.losses import LossContext, LossMaker
from pulseq_zero.optimization.parameters import Parameter, plain
from pulseq_zero.optimization.sequences import taken_by
from pulseq_zero.optimization.steppers import Values


@dataclass(frozen=True)
class SequenceSetup:
    """A sequence function of an experiment with its parameters.

    Attributes
    ----------
    function
        The sequence function.
    start
        Start values: what an optimized sequence is compared with.
    parameters
        What is optimized, from its values at iteration 0 on.
    taken
        Names of those of the parameters that the function takes.
    arguments
        Constant arguments of the function.
    pulses
        How they act, see `SequenceModel`.
    """

    function: SequenceFunction
    start: Values
    parameters: dict[str, Parameter]
    taken: tuple[str, ...]
    arguments: dict[str, Any]
    pulses: Pulses

    def argument(self, name: str) -> Any:
        """Return a constant argument, or the function's default; None where it has neither."""
        default = inspect.signature(self.function).parameters.get(name)
        if name in self.arguments or default is None:
            return self.arguments.get(name)
        return None if default.default is inspect.Parameter.empty else default.default

    def given(self, values: Mapping[str, Tensor]) -> Values:
        """Return those of some values that the function takes."""
        return {name: values[name] for name in self.taken}

    def sequence(self, values: Mapping[str, Tensor]) -> pypulseq.Sequence:
        """Run the unchanged function.

        Raises
        ------
        SequenceError
            If it fails or returns no sequence.
        """
        try:
            made = self.function(**plain(self.given(values)), **self.arguments)
        except (Exception, SystemExit) as error:
            raise SequenceError(
                f"the sequence function fails: {failure(error, self.function)}"
            ) from error
        if not isinstance(made, pypulseq.Sequence):
            raise SequenceError(
                f"the sequence function returns {type(made).__name__}, but must return its "
                "pypulseq.Sequence"
            )
        return made


def sequence_setups(
    sequences: Mapping[str, SequenceSettings],
    parameters: Mapping[str, ParameterSettings],
    base: Path | None = None,
) -> dict[str, SequenceSetup]:
    """Load the sequence functions of an experiment and its parameters.

    Parameters
    ----------
    sequences
        The sequences by their names; the only one has the empty name.
    parameters
        The experiment's section of this name.
    base
        Folder that file names are relative to.

    Raises
    ------
    ConfigError
        If a function cannot be loaded, or a parameter is wrong.
    SequenceError
        If no function has such an argument.
    """
    functions = {name: load_function(each.function, base) for name, each in sequences.items()}
    names = [name for name, given in parameters.items() if given.in_sequence]
    is_one = "" in functions
    taken = {
        name: tuple(names) if is_one else tuple(taken_by(function, names))
        for name, function in functions.items()
    }
    for name, function in functions.items():
        arguments = sequences[name].arguments
        check_arguments(function, [*taken[name], *arguments])
        both = sorted(set(arguments) & set(names))
        if both:
            raise ConfigError(
                f"{both[0]!r} is both a parameter and a constant argument; remove one"
            )
    nowhere = [name for name in names if not any(name in of_it for of_it in taken.values())]
    if nowhere:
        raise SequenceError(
            f"no sequence function has an argument {nowhere[0]!r}; if only the loss needs it, say "
            "in_sequence: false"
        )
    start = {name: _start(functions.values(), name, given) for name, given in parameters.items()}
    made = {name: _parameter(name, s, start[name]) for name, s in parameters.items()}
    return {
        name: SequenceSetup(function, start, made, taken[name], dict(given.arguments), given.pulses)
        for (name, function), given in zip(functions.items(), sequences.values(), strict=True)
    }


def sequence_setup(
    sequence: SequenceSettings,
    parameters: Mapping[str, ParameterSettings],
    base: Path | None = None,
) -> SequenceSetup:
    """Load the only sequence function of an experiment, as `sequence_setups` loads several."""
    (setup,) = sequence_setups({"": sequence}, parameters, base).values()
    return setup


def _start(functions: Iterable[SequenceFunction], name: str, settings: ParameterSettings) -> Tensor:
    start: Any = settings.start
    if start is None:
        defaults = [
            arguments[name].default
            for arguments in (inspect.signature(function).parameters for function in functions)
            if settings.in_sequence and name in arguments
        ]
        start = defaults[0] if defaults else inspect.Parameter.empty
    try:
        return torch.from_numpy(np.array(start, dtype=float))
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"parameter {name!r} has no numeric start value, neither in the experiment nor as "
            "the function's default; give it one with start:"
        ) from error


def _parameter(name: str, settings: ParameterSettings, start: Tensor) -> Parameter:
    given = settings.model_dump(
        include={"lower", "upper", "learning_rate", "in_sequence"}, exclude_none=True
    )
    try:
        # What is optimized from elsewhere starts within the bounds as well
        at_start = Parameter(start, **given)
        if settings.begin is None:
            return at_start
        begin = np.broadcast_to(np.array(settings.begin, float), start.shape).copy()
        return Parameter(torch.from_numpy(begin), **given)
    except OptimizationError as error:
        raise ConfigError(f"parameter {name!r}: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"parameter {name!r}: begin: must be one number or have the shape of the start "
            f"values, {tuple(start.shape)}"
        ) from error


def optimizer_settings(optimizer: OptimizerSettings) -> dict[str, Any]:
    """Return the settings of `optimize` that an experiment's ``optimizer`` section says.

    Raises
    ------
    ConfigError
        If torch has no such optimizer or scheduler, or it takes no such setting.
    """
    optimizers = torch.optim, torch.optim.Optimizer
    schedulers = torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler
    factories = {
        "optimizer": optimizers,
        "scheduler": schedulers,
        "module_optimizer": optimizers,
    }
    return {
        **optimizer.model_dump(exclude=set(factories)),
        **{key: _of_torch(key, *kind, optimizer) for key, kind in factories.items()},
    }


def _of_torch(key: str, module: ModuleType, kind: type, optimizer: OptimizerSettings) -> Any:
    """Find a class of torch by its name, with what it is made with; None where none is named."""
    given: TorchSettings | None = getattr(optimizer, key)
    if given is None:
        return None
    found = getattr(module, given.name, None)
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise ConfigError(
            f"optimizer.{key}: {module.__name__} has no {given.name!r}; name one of its "
            "classes, such as AdamW or ExponentialLR"
        )
    try:
        inspect.signature(found).bind(None, **given.settings)
    except TypeError as error:
        raise ConfigError(f"optimizer.{key}: {given.name}: {error}") from error
    return partial(found, **given.settings)


def stage_values(setup: SequenceSetup, stage: str, optimization: Path | None) -> Values:
    """Parameters at a stage of an optimization.

    Parameters
    ----------
    setup
        A sequence function with its start values.
    stage
        ``start``, ``optimized`` (the best iteration) or ``iteration_N``.
    optimization
        File with the parameters of all iterations; not needed for the start.

    Raises
    ------
    ConfigError
        If the optimization has no such iteration.
    """
    if point_of(stage) == START:
        return setup.start
    if optimization is None:
        raise ConfigError(f"stage {stage!r} needs the parameters that an optimization found")
    parameters, metadata = load_found(optimization)
    iteration = iteration_of(stage, int(metadata["best_iteration"]))
    last = len(next(iter(parameters.values()))) - 1
    if iteration > last:
        raise ConfigError(
            f"report_iterations asks for iteration {iteration}, but the last one is {last}"
        )
    return {name: values[iteration] for name, values in parameters.items()}


def load_found(optimization: Path) -> tuple[Values, dict[str, Any]]:
    """Load the parameters of all iterations, with the best iteration and its like as metadata."""
    tensors, metadata = load_tensors(optimization)
    return without_modules(tensors), metadata


def load_loss_maker(loss: LossSettings, base: Path | None = None) -> LossMaker:
    """Load the loss maker that an experiment's ``loss`` section names.

    Raises
    ------
    ConfigError
        If there is no such loss maker, or if it has no such setting.
    """
    maker = load_function(loss.function, base)
    try:
        inspect.signature(maker).bind(None, **loss.settings)
    except TypeError as error:
        raise ConfigError(f"loss {loss.function!r}: {error}") from error
    return maker


def loss_setting(loss: LossSettings, name: str) -> Any:
    """Return a setting of a loss maker, or its default; None where it has neither."""
    default = inspect.signature(load_function(loss.function)).parameters.get(name)
    if name in loss.settings or default is None:
        return loss.settings.get(name)
    return None if default.default is inspect.Parameter.empty else default.default


def make_loss(loss: LossSettings, context: LossContext, base: Path | None = None) -> LossFunction:
    """Make the loss function that an experiment's ``loss`` section names.

    Raises
    ------
    ConfigError
        If there is no such loss maker, if it has no such setting, or if it fails.
    """
    maker = load_loss_maker(loss, base)
    try:
        made = maker(context, **loss.settings)
    except PulseqZeroError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"the loss maker {loss.function!r} fails: {failure(error, maker)}"
        ) from error
    if not callable(made):
        raise ConfigError(
            f"{loss.function!r} must return a function of (parameters, image); it is called "
            "with the loss context and the settings"
        )
    try:
        check_loss_function(made)
    except OptimizationError as error:
        raise ConfigError(f"{loss.function!r}: {error}") from error
    return made

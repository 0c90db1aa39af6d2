"""One experiment: what its config names, loaded and ready to use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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
from pulseq_zero.experiments.reconstruction import make_reconstruction
from pulseq_zero.experiments.settings import (
    ImageSettings,
    LossSettings,
    OptimizerSettings,
    ParameterSettings,
    ReconstructionSettings,
    SequenceSettings,
    TorchSettings,
)
from pulseq_zero.experiments.stages import START, iteration_of
from pulseq_zero.files.loading import check_arguments, failure, load_function
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.model import ImagingModel, SequenceFunction
from pulseq_zero.optimization.loss import LossFunction, check_loss_function
from pulseq_zero.optimization.losses import LossContext, LossMaker
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.optimization.steppers import Values
from pulseq_zero.phantom import Phantom


@dataclass(frozen=True)
class SequenceSetup:
    """The sequence function of an experiment with its parameters.

    Attributes
    ----------
    function
        The sequence function.
    start
        Start values: what an optimized sequence is compared with.
    parameters
        What is optimized, from its values at iteration 0 on.
    arguments
        Constant arguments of the function.
    pulses
        How they act, see `SequenceModel`.
    """

    function: SequenceFunction
    start: Values
    parameters: dict[str, Parameter]
    arguments: dict[str, Any]
    pulses: Pulses

    def argument(self, name: str) -> Any:
        """Return a constant argument, or the function's default; None where it has neither."""
        default = inspect.signature(self.function).parameters.get(name)
        if name in self.arguments or default is None:
            return self.arguments.get(name)
        return None if default.default is inspect.Parameter.empty else default.default

    def sequence(self, values: Mapping[str, Tensor]) -> pypulseq.Sequence:
        """Run the unchanged function.

        Raises
        ------
        SequenceError
            If it fails or returns no sequence.
        """
        try:
            made = self.function(**plain(values), **self.arguments)
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

    def imaging_model(
        self,
        phantom: Phantom,
        image: ImageSettings,
        reconstruction: ReconstructionSettings | None,
        accuracy: float,
        simulator: Mapping[str, Any],
    ) -> ImagingModel:
        """Build the function from parameters to image."""
        return ImagingModel(
            self.function,
            phantom,
            arguments=self.arguments,
            matrix=image.matrix,
            fov=image.fov,
            reconstruction=make_reconstruction(reconstruction),
            accuracy=accuracy,
            pulses=self.pulses,
            simulation=simulator,
        )


def sequence_setup(
    sequence: SequenceSettings,
    parameters: Mapping[str, ParameterSettings],
    base: Path | None = None,
) -> SequenceSetup:
    """Load the sequence function of an experiment and its parameters.

    Parameters
    ----------
    sequence, parameters
        The experiment's sections of these names.
    base
        Folder that file names are relative to.

    Raises
    ------
    ConfigError
        If the function cannot be loaded, or a parameter is wrong.
    SequenceError
        If the function has no such argument.
    """
    function = load_function(sequence.function, base)
    check_arguments(function, [*parameters, *sequence.arguments])
    both = sorted(set(sequence.arguments) & set(parameters))
    if both:
        raise ConfigError(f"{both[0]!r} is both a parameter and a constant argument; remove one")
    start = {name: _start(function, name, given) for name, given in parameters.items()}
    return SequenceSetup(
        function=function,
        start=start,
        parameters={name: _parameter(name, s, start[name]) for name, s in parameters.items()},
        arguments=dict(sequence.arguments),
        pulses=sequence.pulses,
    )


def _start(function: SequenceFunction, name: str, settings: ParameterSettings) -> Tensor:
    start: Any = settings.start
    if start is None:
        argument = inspect.signature(function).parameters.get(name)
        start = argument.default if argument else inspect.Parameter.empty
    try:
        return torch.from_numpy(np.array(start, dtype=float))
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"parameter {name!r} has no numeric start value, neither in the experiment nor as "
            "the function's default; give it one with start:"
        ) from error


def _parameter(name: str, settings: ParameterSettings, start: Tensor) -> Parameter:
    given = settings.model_dump(include={"lower", "upper", "learning_rate"}, exclude_none=True)
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
    return {
        **optimizer.model_dump(exclude={"optimizer", "scheduler"}),
        "optimizer": _of_torch("optimizer", torch.optim, torch.optim.Optimizer, optimizer),
        "scheduler": _of_torch(
            "scheduler", torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler, optimizer
        ),
    }


def _of_torch(key: str, module: ModuleType, kind: type, optimizer: OptimizerSettings) -> Any:
    """Find a class of torch by its name, with what it is made with; None where none is named."""
    given: TorchSettings | None = getattr(optimizer, key)
    if given is None:
        return None
    found = getattr(module, given.name, None)
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise ConfigError(
            f"optimizer.{key}: {module.__name__} has no {key} {given.name!r}; name one of its "
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
        The sequence function with its start values.
    stage
        ``start``, ``optimized`` (the best iteration) or ``iteration_N``.
    optimization
        File with the parameters of all iterations; not needed for the start.

    Raises
    ------
    ConfigError
        If the optimization has no such iteration.
    """
    if stage == START:
        return setup.start
    if optimization is None:
        raise ConfigError(f"stage {stage!r} needs the parameters that an optimization found")
    parameters, metadata = load_tensors(optimization)
    iteration = iteration_of(stage, int(metadata["best_iteration"]))
    last = len(next(iter(parameters.values()))) - 1
    if iteration > last:
        raise ConfigError(
            f"report_iterations asks for iteration {iteration}, but the last one is {last}"
        )
    return {name: values[iteration] for name, values in parameters.items()}


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


def plain(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """Parameters as plain Python and NumPy have them, for the unchanged script."""
    return {
        name: value.item() if value.ndim == 0 else value.detach().cpu().numpy().copy()
        for name, value in values.items()
    }

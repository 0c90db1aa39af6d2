"""One experiment: what its config names, loaded and ready to use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq
import torch
from torch import Tensor

from pulseq_zero.errors import ConfigError, OptimizationError, PulseqZeroError, SequenceError
from pulseq_zero.imaging import ImagingModel, SequenceFunction
from pulseq_zero.loading import check_arguments, failure, load_function
from pulseq_zero.losses import LossContext, LossFunction, LossMaker
from pulseq_zero.parameters import Parameter
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors

Values = dict[str, Tensor]


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
    matrix, fov
        Pixels and field of view [m] of the image, None for what the sequence resolves.
    sub_pulses
        Into how many rotations each pulse is cut.
    """

    function: SequenceFunction
    start: Values
    parameters: dict[str, Parameter]
    arguments: dict[str, Any]
    matrix: tuple[int, int] | None
    fov: tuple[float, float] | None
    sub_pulses: int = 1

    def sequence(self, values: Mapping[str, Tensor]) -> pypulseq.Sequence:
        """Run the unchanged function.

        Raises
        ------
        SequenceError
            If it fails or returns no sequence.
        """
        try:
            made = self.function(**plain(values), **self.arguments)
        except Exception as error:
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
        self, phantom: Phantom, accuracy: float, simulation: Mapping[str, Any]
    ) -> ImagingModel:
        """Build the function from parameters to image."""
        return ImagingModel(
            self.function,
            phantom,
            arguments=self.arguments,
            matrix=self.matrix,
            fov=self.fov,
            accuracy=accuracy,
            sub_pulses=self.sub_pulses,
            simulation=simulation,
        )


def sequence_setup(experiment: Mapping[str, Any], base: Path | None = None) -> SequenceSetup:
    """Load the sequence function of an experiment and its parameters.

    Parameters
    ----------
    experiment
        The content of an experiment file.
    base
        Folder that file names are relative to.

    Raises
    ------
    ConfigError
        If the function cannot be loaded, or a parameter is wrong.
    SequenceError
        If the function has no such argument.
    """
    function = load_function(experiment["sequence"]["function"], base)
    arguments = dict(experiment["sequence"].get("arguments", {}))
    check_arguments(function, [*experiment["parameters"], *arguments])
    both = sorted(set(arguments) & set(experiment["parameters"]))
    if both:
        raise ConfigError(f"{both[0]!r} is both a parameter and a constant argument; remove one")
    image = experiment.get("image", {})
    start = {n: _start(function, n, s) for n, s in experiment["parameters"].items()}
    return SequenceSetup(
        function=function,
        start=start,
        parameters={n: _parameter(n, s, start[n]) for n, s in experiment["parameters"].items()},
        arguments=arguments,
        matrix=tuple(image["matrix"]) if "matrix" in image else None,
        fov=tuple(image["fov"]) if "fov" in image else None,
        sub_pulses=experiment["sequence"].get("sub_pulses", 1),
    )


def _start(function: SequenceFunction, name: str, settings: Mapping[str, Any]) -> Tensor:
    start = settings.get("start")
    if start is None:
        argument = inspect.signature(function).parameters.get(name)
        start = argument.default if argument else inspect.Parameter.empty
    try:
        return torch.from_numpy(np.array(start, dtype=float))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"parameter {name!r} has no numeric start value, neither in the experiment nor as "
            "the function's default; give it one with start:"
        ) from error


def _parameter(name: str, settings: Mapping[str, Any], start: Tensor) -> Parameter:
    bounds = {key: float(settings[key]) for key in ("lower", "upper") if key in settings}
    rate = settings.get("learning_rate")
    try:
        # What is optimized from elsewhere starts within the bounds as well
        at_start = Parameter(start, learning_rate=rate, **bounds)
        if "begin" not in settings:
            return at_start
        begin = np.broadcast_to(np.array(settings["begin"], float), start.shape).copy()
        return Parameter(torch.from_numpy(begin), learning_rate=rate, **bounds)
    except OptimizationError as error:
        raise ConfigError(f"parameter {name!r}: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"parameter {name!r}: begin: must be one number or have the shape of the start "
            f"values, {tuple(start.shape)}"
        ) from error


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
    if stage == "start":
        return setup.start
    if optimization is None:
        raise ConfigError(f"stage {stage!r} needs the parameters that an optimization found")
    parameters, metadata = load_tensors(optimization)
    if stage == "optimized":
        iteration = int(metadata["best_iteration"])
    else:
        iteration = int(stage.removeprefix("iteration_"))
    last = len(next(iter(parameters.values()))) - 1
    if iteration > last:
        raise ConfigError(
            f"report_iterations asks for iteration {iteration}, but the last one is {last}"
        )
    return {name: values[iteration] for name, values in parameters.items()}


def load_loss_maker(loss: Mapping[str, Any], base: Path | None = None) -> LossMaker:
    """Load the loss maker that an experiment's ``loss`` section names.

    Raises
    ------
    ConfigError
        If there is no such loss maker, or if it has no such setting.
    """
    maker = load_function(loss["function"], base)
    try:
        inspect.signature(maker).bind(None, **loss.get("settings", {}))
    except TypeError as error:
        raise ConfigError(f"loss {loss['function']!r}: {error}") from error
    return maker


def make_loss(
    loss: Mapping[str, Any], context: LossContext, base: Path | None = None
) -> LossFunction:
    """Make the loss function that an experiment's ``loss`` section names.

    Raises
    ------
    ConfigError
        If there is no such loss maker, if it has no such setting, or if it fails.
    """
    maker = load_loss_maker(loss, base)
    try:
        made = maker(context, **loss.get("settings", {}))
    except PulseqZeroError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the loss maker {loss['function']!r} fails: {failure(error, maker)}"
        ) from error
    if not callable(made):
        raise ConfigError(
            f"{loss['function']!r} must return a function of (parameters, image); it is called "
            "with the loss context and the settings"
        )
    return made


def plain(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """Parameters as plain Python and NumPy have them, for the unchanged script."""
    return {
        name: value.item() if value.ndim == 0 else value.detach().cpu().numpy().copy()
        for name, value in values.items()
    }

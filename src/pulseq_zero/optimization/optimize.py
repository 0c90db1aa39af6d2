"""The one call: a sequence function, a loss function, better parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch

from pulseq_zero.errors import OptimizationError
from pulseq_zero.imaging.model import SequenceFunction
from pulseq_zero.optimization.checkpoints import FORMAT, checksum, fingerprint, identity
from pulseq_zero.optimization.loss import LossFunction
from pulseq_zero.optimization.parameters import Parameter, as_parameters
from pulseq_zero.optimization.problem import (
    Ensemble,
    Extras,
    ImagedByIteration,
    is_by_iteration,
)
from pulseq_zero.optimization.run import OptimizationResult, Run
from pulseq_zero.optimization.sequences import Sequences
from pulseq_zero.optimization.settings import OptimizationSettings
from pulseq_zero.optimization.steppers import make_stepper
from pulseq_zero.optimization.training import Training
from pulseq_zero.phantom.imaged import Imaged

__all__ = ["OptimizationResult", "optimize"]


def optimize(
    sequence_function: SequenceFunction | Mapping[str, SequenceFunction],
    loss_function: LossFunction | Sequence[LossFunction],
    parameters: Mapping[str, Any],
    phantom: Imaged | Sequence[Imaged] | ImagedByIteration,
    **settings: Any,
) -> OptimizationResult:
    """Find sequence parameters with a lower loss, by gradient descent through the simulation.

    Parameters
    ----------
    sequence_function
        A plain PyPulseq function that takes the parameters and returns its ``Sequence``, or several
        by their names; or several functions by their names, each of which takes those of the
        parameters that are its arguments.
    loss_function
        A function as in ``loss(parameters, image)`` or ``loss(acquisition)``: what it may take and
        return stands in `pulseq_zero.optimization.loss`. For an ensemble of phantoms, one for all
        or one for each.
    parameters
        For each parameter its start value, or a `Parameter` with bounds and learning rate.
    phantom
        What is imaged; of an ensemble of several, the mean of the losses is made lower. Or a
        function that takes the number of the iteration and returns one or several.
    **settings
        ``iterations``, ``method``, ``verify_every``, ...: see `OptimizationSettings`.

    Raises
    ------
    OptimizationError
        If a setting is wrong, if a parameter has no effect on the loss, if the loss is no
        scalar or has no gradient, or if the checkpoint is not this run's.
    NotFiniteError
        If loss or gradient are not finite; names iteration, values, and the last checkpoint.
    SequenceError
        If the sequence function cannot be used.
    """
    given = _settings(settings)
    started_from = _with_learning_rates(as_parameters(parameters), given.learning_rate)
    sequences = Sequences(sequence_function, started_from, given.arguments or {})
    torch.manual_seed(given.seed)
    training = Training(given.modules, given.module_optimizer)
    extras = Extras(tuple(training.tensors), given.noise, given.seed)
    accuracies = [given.accuracy]
    accuracies += [given.verification_accuracy] * (given.verify_every is not None)
    # The verification has to see the very phantom that is verified
    imaged = lru_cache(maxsize=4)(phantom) if is_by_iteration(phantom) else phantom
    problem, *verification = (
        Ensemble.at_accuracy(accuracy, sequences, imaged, loss_function, given, extras)
        for accuracy in accuracies
    )
    stepper = make_stepper(given.method, started_from, given.optimizer, given.scheduler)
    functions = [*sequences.functions.values(), *(each.loss_function for each in problem.members)]
    shared = _shared(functions, started_from, given, problem, training, phantom)
    verify = verification[0] if verification else None
    run = Run(given, problem, verify, stepper, training, started_from, shared)
    run.resume()
    return run.finish()


def _settings(given: Mapping[str, Any]) -> OptimizationSettings:
    known = [field.name for field in fields(OptimizationSettings)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise OptimizationError(
            f"optimize has no setting {unknown[0]!r}; its settings are {', '.join(known)}"
        )
    return OptimizationSettings(**given)


def _with_learning_rates(
    parameters: Mapping[str, Parameter], default: float
) -> dict[str, Parameter]:
    return {
        name: parameter
        if parameter.learning_rate is not None
        else replace(parameter, learning_rate=default)
        for name, parameter in parameters.items()
    }


def _shared(
    functions: Sequence[Any],
    parameters: Mapping[str, Parameter],
    settings: OptimizationSettings,
    problem: Ensemble,
    training: Training,
    phantom: Any,
) -> str:
    """Fingerprint of all that two runs of which one goes on from the other's state have alike."""
    return fingerprint(
        {
            "checkpoint": FORMAT,
            "functions": [identity(function) for function in functions],
            "parameters": {
                name: [
                    value.tolist() if isinstance(value, torch.Tensor) else value
                    for value in vars(parameter).values()
                ]
                for name, parameter in parameters.items()
            },
            "method": [settings.method, *map(identity, (settings.optimizer, settings.scheduler))],
            "modules": [
                [[name, tuple(value.shape)] for name, value in module.state_dict().items()]
                for module in training.modules
            ],
            "module_optimizer": identity(settings.module_optimizer),
            "imaging": [
                dict(settings.arguments or {}),
                settings.matrix,
                settings.fov,
                identity(settings.reconstruction),
                settings.noise,
                settings.accuracy,
                settings.pulses,
                dict(settings.simulation or {}),
            ],
            "phantom": [
                identity(phantom) if is_by_iteration(phantom) else "",
                *(checksum(model.simulator.data) for model in problem.models),
            ],
            "verification": [
                settings.verify_every,
                settings.verify_accuracy,
                settings.verify_share,
            ],
            "seed": settings.seed,
        }
    )

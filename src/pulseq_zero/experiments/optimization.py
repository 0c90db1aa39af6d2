"""The optimization that an experiment describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pulseq_zero.experiments.experiment import (
    SequenceSetup,
    make_loss,
    optimizer_settings,
)
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_image
from pulseq_zero.experiments.settings import Experiment, SimulationSettings
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.run import OptimizationResult
from pulseq_zero.phantom import Phantom


def context_of(
    experiment: Experiment,
    setup: SequenceSetup,
    simulation: SimulationSettings,
    phantom: Phantom,
) -> LossContext:
    """Make the context of a loss: simulate the start, as the optimization sees it.

    Parameters
    ----------
    experiment, setup
        The experiment, and what it names.
    simulation
        Settings of the simulation.
    phantom
        What is imaged.
    """
    model = setup.imaging_model(
        phantom,
        experiment.image,
        experiment.reconstruction,
        simulation.accuracy,
        simulation.simulator,
    )
    with torch.no_grad():
        start_image = shown_image(model(setup.start))
    return LossContext(phantom, start_image, setup.start)


def optimize_experiment(
    experiment: Experiment,
    setup: SequenceSetup,
    simulation: SimulationSettings,
    contexts: Sequence[LossContext],
    **changes: Any,
) -> OptimizationResult:
    """Optimize as an experiment says.

    Parameters
    ----------
    experiment, setup
        The experiment, and what it names.
    simulation
        Settings of the simulation: its accuracy is that of the optimization, its tight one that
        of the verification that chooses the best iteration.
    contexts
        For each phantom that is optimized for, what its loss is made of.
    **changes
        Settings of `optimize` that are others, or that no experiment has.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    """
    result = optimize(
        setup.function,
        [make_loss(experiment.loss, context) for context in contexts],
        setup.parameters,
        [context.phantom for context in contexts],
        arguments=setup.arguments,
        matrix=experiment.image.matrix,
        fov=experiment.image.fov,
        reconstruction=make_reconstruction(experiment.reconstruction),
        accuracy=simulation.accuracy,
        pulses=setup.pulses,
        verify_accuracy=simulation.tight_accuracy,
        simulation=simulation.simulator,
        **{**optimizer_settings(experiment.optimizer), **changes},
    )
    if result.interrupted:
        # Not to be taken for the result of the whole experiment; its checkpoint stands
        raise KeyboardInterrupt
    return result

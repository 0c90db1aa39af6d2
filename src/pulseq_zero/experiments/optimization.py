"""The optimization that an experiment describes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pulseq_zero.experiments.experiment import make_loss, optimizer_settings
from pulseq_zero.experiments.models import (
    SequenceModels,
    StageSetup,
    setups_of,
)
from pulseq_zero.experiments.modules import Modules
from pulseq_zero.experiments.phantoms import LossByPhantom, StartImages, phantoms_by_iteration
from pulseq_zero.experiments.reconstruction import Images
from pulseq_zero.experiments.settings import Experiment, SimulationSettings
from pulseq_zero.experiments.stages import START
from pulseq_zero.optimization.loss import LossFunction
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.run import OptimizationResult
from pulseq_zero.phantom import Phantom


def optimize_experiment(
    experiment: Experiment,
    simulation: SimulationSettings,
    phantoms: Sequence[Phantom],
    start: Images | None = None,
    **changes: Any,
) -> tuple[OptimizationResult, Modules]:
    """Optimize as an experiment says.

    Parameters
    ----------
    experiment
        The experiment.
    simulation
        Settings of the simulation: its accuracy is that of the optimization, its tight one that
        of the verification that chooses the best iteration.
    phantoms
        What is optimized for, the experiment's own first. If others are made in each iteration,
        its own alone.
    start
        Images of this at the start values by the names of the sequences, as the optimization sees
        them; None to simulate them, as those of the other phantoms are.
    **changes
        Settings of `optimize` that are others, or that no experiment has.

    Returns
    -------
    tuple
        The result, and the modules as they are at its best iteration.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    """
    setups = setups_of(experiment)
    first = next(iter(setups.values()))
    at_start = StageSetup(experiment, START, None)
    models = SequenceModels.of(
        setups, phantoms[0], experiment.image, simulation.accuracy, simulation.simulator
    )
    start_of = StartImages(experiment, models, first.start)
    contexts = [
        at_start.context(
            phantom, start if number == 0 and start else start_of.on(phantom), first.start
        )
        for number, phantom in enumerate(phantoms)
    ]
    imaged: Any = list(phantoms)
    losses: list[LossFunction] | LossFunction
    losses = [make_loss(experiment.loss, context) for context in contexts]
    if experiment.phantoms is not None:
        imaged = phantoms_by_iteration(experiment.phantoms, phantoms[0])
        losses = LossByPhantom(experiment.loss, contexts[0], start_of)
    is_one = "" in setups
    result = optimize(
        first.function
        if is_one
        else {name: partial(each.function, **each.arguments) for name, each in setups.items()},
        losses,
        first.parameters,
        imaged,
        arguments=first.arguments if is_one else None,
        matrix=experiment.image.matrix,
        fov=experiment.image.fov,
        reconstruction=at_start.reconstruction,
        modules=list(at_start.modules.values()),
        accuracy=simulation.accuracy,
        pulses=experiment.pulses,
        verify_accuracy=simulation.tight_accuracy,
        simulation=simulation.simulator,
        **{**optimizer_settings(experiment.optimizer), **changes},
    )
    if result.interrupted:
        # Not to be taken for the result of the whole experiment; its checkpoint stands
        raise KeyboardInterrupt
    return result, at_start.modules

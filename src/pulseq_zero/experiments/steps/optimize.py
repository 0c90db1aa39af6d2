"""Optimize the parameters of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pulseq_zero.checkpoints import fingerprint
from pulseq_zero.experiments.experiment import make_loss, sequence_setup
from pulseq_zero.experiments.settings import Experiment, with_sections
from pulseq_zero.losses import LossContext
from pulseq_zero.optimization import optimize
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors, save_table, save_tensors

SECTIONS = ("sequence", "parameters", "image", "loss", "optimizer")


def run(
    name: str,
    experiment: Experiment,
    accuracy: float,
    tight_accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    ensemble: Sequence[Path],
    start: Path,
    checkpoints: Path,
    parameters: Path,
    history: Path,
) -> None:
    """Optimize the parameters of an experiment, or go on where an interrupted run was.

    Parameters
    ----------
    name
        Name of the experiment, for its checkpoint.
    experiment
        The experiment.
    accuracy, tight_accuracy
        Accuracy of the optimization, and of the verification that chooses the best iteration.
    simulator
        Further settings of the `Simulator`.
    phantom, ensemble
        What is imaged, and further phantoms to optimize for.
    start
        Image at the start values.
    checkpoints
        Folder for the checkpoint, which is removed at the end.
    parameters
        For each parameter its values (iterations + 1, ...) as safetensors, with
        ``best_iteration`` and ``seconds_per_iteration`` as metadata.
    history
        A row an iteration, as CSV or Parquet.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    imaged = Phantom.load(phantom)
    contexts = [LossContext(imaged, load_tensors(start)[0]["image"], setup.start)]
    for further in map(Phantom.load, ensemble):
        with torch.no_grad():
            model = setup.imaging_model(further, experiment.image, accuracy, simulator)
            start_image = model(setup.start).image
        contexts.append(LossContext(further, start_image, setup.start))
    # Runs under other settings keep their own checkpoints and do not meet
    used = with_sections(experiment, SECTIONS)
    settings = fingerprint([used, accuracy, tight_accuracy, simulator])
    checkpoint = checkpoints / f"{name.replace('/', '_')}_{settings}.safetensors"
    result = optimize(
        setup.function,
        [make_loss(experiment.loss, context) for context in contexts],
        setup.parameters,
        [context.phantom for context in contexts],
        arguments=setup.arguments,
        matrix=experiment.image.matrix,
        fov=experiment.image.fov,
        accuracy=accuracy,
        sub_pulses=setup.sub_pulses,
        verify_accuracy=tight_accuracy,
        simulation=simulator,
        checkpoint=checkpoint,
        **experiment.optimizer.model_dump(),
    )
    save_table(history, result.history)
    save_tensors(
        parameters,
        result.parameters,
        {
            "best_iteration": result.best_iteration,
            "seconds_per_iteration": result.seconds_per_iteration,
        },
    )
    checkpoint.unlink(missing_ok=True)

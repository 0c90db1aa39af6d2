"""Optimize the parameters of an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pulseq_zero.checkpoints import fingerprint
from pulseq_zero.experiment import make_loss, sequence_setup
from pulseq_zero.losses import LossContext
from pulseq_zero.optimization import optimize
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors, save_table, save_tensors


def optimize_experiment(
    name: str,
    experiment: Mapping[str, Any],
    accuracy: float,
    tight_accuracy: float,
    simulation: Mapping[str, Any],
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
        Content of its file.
    accuracy, tight_accuracy
        Accuracy of the optimization, and of the verification that chooses the best iteration.
    simulation
        Further settings of the simulation.
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
    setup = sequence_setup(experiment)
    imaged = Phantom.load(phantom)
    contexts = [LossContext(imaged, load_tensors(start)[0]["image"], setup.start)]
    for further in map(Phantom.load, ensemble):
        with torch.no_grad():
            start_image = setup.imaging_model(further, accuracy, simulation)(setup.start).image
        contexts.append(LossContext(further, start_image, setup.start))
    # Runs under other settings keep their own checkpoints and do not meet
    settings = fingerprint([json.dumps(experiment), accuracy, tight_accuracy, simulation])
    checkpoint = checkpoints / f"{name.replace('/', '_')}_{settings}.safetensors"
    result = optimize(
        setup.function,
        [make_loss(experiment["loss"], context) for context in contexts],
        setup.parameters,
        [context.phantom for context in contexts],
        arguments=setup.arguments,
        matrix=setup.matrix,
        fov=setup.fov,
        accuracy=accuracy,
        sub_pulses=setup.sub_pulses,
        verify_accuracy=tight_accuracy,
        simulation=simulation,
        checkpoint=checkpoint,
        **experiment["optimizer"],
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

"""Optimize the parameters of an experiment."""

import json
from pathlib import Path
from typing import Any

import torch

from pulseq_zero.checkpoints import fingerprint
from pulseq_zero.experiment import make_loss, sequence_setup
from pulseq_zero.logs import logged
from pulseq_zero.losses import LossContext
from pulseq_zero.optimization import optimize
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors, save_table, save_tensors


def main(
    name: str,
    experiment: dict[str, Any],
    accuracy: float,
    tight_accuracy: float,
    simulation: dict[str, Any],
    phantom: Path,
    ensemble: list[Path],
    start: Path,
    checkpoints: Path,
    parameters: Path,
    history: Path,
) -> None:
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


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.wildcards.experiment,
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.tight_accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            [Path(file) for file in snakemake.input.ensemble],
            Path(snakemake.input.start),
            Path(snakemake.params.checkpoints),
            Path(snakemake.output.parameters),
            Path(snakemake.output.history),
        )

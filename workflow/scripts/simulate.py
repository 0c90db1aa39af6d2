"""Simulate and reconstruct a traced sequence."""

from pathlib import Path
from typing import Any

import torch

from pulseq_zero.acquisition import acquire
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation import Simulator
from pulseq_zero.store import load_tensors, save_tensors


def main(
    experiment: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    phantom: Path,
    sequence: Path,
    image: Path,
) -> None:
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    data = Phantom.load(phantom).simulation_data()
    matrix = experiment.get("image", {}).get("matrix")
    acquisition = acquire(
        repetitions,
        Simulator(data, accuracy=accuracy, **simulation),
        matrix=tuple(matrix) if matrix else None,
        fov=tuple(metadata["fov"]),
    )
    save_tensors(
        image,
        {
            "image": acquisition.image,
            "signal": acquisition.signal,
            "kspace": repetitions.kspace(),
        },
        {"accuracy": accuracy, "fov": metadata["fov"]},
    )


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            Path(snakemake.input.sequence),
            Path(snakemake.output.image),
        )

"""Simulate an exported `.seq` file as it is imported, without the script that wrote it."""

from pathlib import Path
from typing import Any

import torch

from pulseq_zero.acquisition import acquire, defined_fov
from pulseq_zero.imported import imported_repetitions
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.seq_files import read_seq
from pulseq_zero.simulation import Simulator
from pulseq_zero.store import save_tensors


def main(
    experiment: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    phantom: Path,
    seq: Path,
    image: Path,
) -> None:
    written = read_seq(seq)
    settings = experiment.get("image", {})
    acquisition = acquire(
        imported_repetitions(seq, experiment["sequence"].get("sub_pulses", 1)),
        Simulator(Phantom.load(phantom).simulation_data(), accuracy=accuracy, **simulation),
        matrix=tuple(settings["matrix"]) if "matrix" in settings else None,
        fov=tuple(settings["fov"]) if "fov" in settings else defined_fov(written),
    )
    save_tensors(image, {"image": acquisition.image}, {"accuracy": accuracy})


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            Path(snakemake.input.seq),
            Path(snakemake.output.image),
        )

"""Evaluate an optimized sequence on other phantoms than its own."""

from pathlib import Path
from typing import Any

import torch

from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.logs import logged
from pulseq_zero.phantom import Phantom
from pulseq_zero.robustness import robustness_table
from pulseq_zero.store import save_table


def main(
    name: str,
    experiment: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    optimization: Path,
    phantoms: dict[str, Path],
    robustness: Path,
) -> None:
    table = robustness_table(
        experiment,
        stage_values(sequence_setup(experiment), "optimized", optimization),
        {label: Phantom.load(file) for label, file in phantoms.items()},
        accuracy=accuracy,
        simulation=simulation,
    )
    table.insert(0, "experiment", name)
    save_table(robustness, table)


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.wildcards.experiment,
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.optimization),
            dict(zip(snakemake.params.phantoms, map(Path, snakemake.input.phantoms), strict=True)),
            Path(snakemake.output.robustness),
        )

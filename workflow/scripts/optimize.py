"""Optimize the parameters of an experiment."""

from pathlib import Path

import torch

from pulseq_zero.logs import logged
from pulseq_zero.steps.optimize import optimize_experiment

if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        optimize_experiment(
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

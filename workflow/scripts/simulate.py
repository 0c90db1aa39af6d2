"""Simulate and reconstruct a traced sequence."""

from pathlib import Path

import torch

from pulseq_zero.logs import logged
from pulseq_zero.steps.simulate import simulate_stage

if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        simulate_stage(
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.change,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            Path(snakemake.input.sequence),
            Path(snakemake.output.image),
        )

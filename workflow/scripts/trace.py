"""Trace a sequence at the parameters of a stage and store what the simulation needs of it."""

from pathlib import Path

from pulseq_zero.logs import logged
from pulseq_zero.steps.trace import trace_stage

if "snakemake" in globals():
    with logged(snakemake.log[0]):
        trace_stage(
            snakemake.params.experiment,
            snakemake.wildcards.stage,
            Path(snakemake.input.optimization) if snakemake.input.optimization else None,
            Path(snakemake.output.sequence),
            Path(snakemake.output.traced),
        )

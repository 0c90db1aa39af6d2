"""Trace a sequence at the parameters of a stage and store what the simulation needs of it."""

from pathlib import Path
from typing import Any

from pulseq_zero.acquisition import defined_fov
from pulseq_zero.conversion import SequenceModel
from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.logs import logged
from pulseq_zero.store import atomic_path, save_tensors


def main(
    experiment: dict[str, Any], stage: str, optimization: Path | None, sequence: Path, traced: Path
) -> None:
    setup = sequence_setup(experiment)
    values = stage_values(setup, stage, optimization)
    model = SequenceModel(setup.function, arguments=setup.arguments)
    repetitions = model({name: value.requires_grad_() for name, value in values.items()}).detach()
    tensors, metadata = repetitions.to_tensors()
    fov = setup.fov or defined_fov(model.sequence)
    save_tensors(sequence, tensors, {**metadata, "fov": fov})
    with atomic_path(traced) as path:
        model.sequence.write(str(path))


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.wildcards.stage,
            Path(snakemake.input.optimization) if snakemake.input.optimization else None,
            Path(snakemake.output.sequence),
            Path(snakemake.output.traced),
        )

"""Trace a sequence at the parameters of a stage and store what the simulation needs of it."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.conversion.rasters import off_raster
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import sequence_of
from pulseq_zero.files.loading import failure
from pulseq_zero.files.store import atomic_path, save_tensors
from pulseq_zero.imaging.acquisition import defined_fov

SECTIONS = ("sequence", "sequences", "parameters", "image")


def run(
    experiment: Experiment,
    stage: str,
    sequence: Path,
    traced: Path,
    optimization: Path | None = None,
) -> None:
    """Trace the sequence of a stage.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        ``start``, ``optimized`` or ``iteration_N``, of one of several sequences ``start/NAME``.
    sequence
        The repetitions as safetensors, with the field of view [m] as metadata.
    traced
        The ``.seq`` file as it is written with traced numbers.
    optimization
        File with the parameters of all iterations; not needed for the start.
    """
    setup = setups_of(experiment)[sequence_of(stage)]
    values = stage_values(setup, stage, optimization)
    model = SequenceModel(setup.function, arguments=setup.arguments, pulses=setup.pulses)
    repetitions = model({n: v.requires_grad_() for n, v in setup.given(values).items()}).detach()
    tensors, metadata = repetitions.to_tensors()
    fov = experiment.image.fov or defined_fov(model.sequence, experiment.image.axes)
    save_tensors(sequence, tensors, {**metadata, "fov": fov})
    with atomic_path(traced) as path:
        try:
            model.sequence.write(str(path))
        except AssertionError as error:
            raise SequenceError(
                f"PyPulseq cannot write the sequence at {stage}: "
                f"{off_raster(model.sequence) or failure(error, setup.function)}"
            ) from error

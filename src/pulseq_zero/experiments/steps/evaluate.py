"""Report a run: its numbers, what it needs of the limits, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.evaluation import evaluate, measured_shots
from pulseq_zero.experiments.experiment import load_found, sequence_setup
from pulseq_zero.experiments.layout import ResultFiles, RunFiles
from pulseq_zero.experiments.models import setups_of, stored_images
from pulseq_zero.experiments.settings import Experiment, LimitSettings
from pulseq_zero.experiments.stages import (
    ENDS,
    OPTIMIZATION,
    OPTIMIZED,
    START,
    of_sequence,
    point_of,
)
from pulseq_zero.experiments.steps import experiment_figure, limits, sequence_figures
from pulseq_zero.experiments.steps import quality as quality_over_iterations
from pulseq_zero.files.store import load_json, load_table, load_tensors, save_json
from pulseq_zero.imaging.point_spread import point_spread_width
from pulseq_zero.phantom import Phantom

SECTIONS = (
    "title", "sequence", "sequences", "parameters", "image", "reconstruction", "loss", "optimizer",
    "report_iterations", "scan", "figure",
)  # fmt: skip


def run(
    experiment: Experiment,
    stages: Sequence[str],
    accuracy: float,
    simulator: Mapping[str, Any],
    limit_settings: LimitSettings,
    phantom: Path,
    files: RunFiles,
    start: RunFiles,
    results: ResultFiles,
    quality: Path | None = None,
) -> None:
    """Report a run.

    Parameters
    ----------
    experiment, stages, simulator, phantom, files, start
        As for `numbers_of`. ``evaluation`` and ``limits`` of the run are made.
    accuracy, quality
        As for `quality.run`, where images of iterations are looked at.
    limit_settings
        The limits, see `pulseq_zero.optimization.limits.check_limits`.
    results
        The files of all runs, of which the figures are made.
    """
    if quality is not None:
        quality_over_iterations.run(
            experiment, accuracy, simulator, phantom, start, files.parameters, quality
        )
    save_json(files.evaluation, numbers_of(experiment, stages, simulator, phantom, files, start))
    limits.run(experiment, limit_settings, files, start)
    sequence_figures.run(experiment, files, results)
    experiment_figure.run(experiment, phantom, files, start, results)


def numbers_of(
    experiment: Experiment,
    stages: Sequence[str],
    simulator: Mapping[str, Any],
    phantom: Path,
    files: RunFiles,
    start: RunFiles,
) -> dict[str, Any]:
    """Collect the numbers of a run.

    Parameters
    ----------
    experiment
        The experiment.
    stages
        The stages that are reported.
    simulator
        Settings of the `Simulator`.
    phantom
        What was imaged.
    files, start
        The files of the run, and of the run that has its start.
    """
    values, found = load_found(files.parameters)
    imaged = Phantom.load(phantom)
    at = {stage: start if point_of(stage) == START else files for stage in stages}
    names = list(experiment.sequences_by_name)
    numbers = evaluate(
        experiment,
        imaged,
        tight_images={stage: _image(of.image(stage)) for stage, of in at.items()},
        start_images=stored_images(experiment, start, START, OPTIMIZATION),
        optimized_images=stored_images(experiment, files, OPTIMIZED, OPTIMIZATION),
        imported_images={
            name: _image(files.imported(of_sequence(OPTIMIZED, name))) for name in names
        },
        point_spread_widths={
            stage: _width(of.sequence(stage), imaged, simulator) for stage, of in at.items()
        },
        measured=measured_in(experiment, start),
        start=next(iter(setups_of(experiment).values())).start,
        parameters=values,
        found=found,
        history=load_table(files.history),
        minima=None if experiment.scan is None else load_table(files.minima),
    )
    for stage in (of_sequence(end, name) for name in names for end in ENDS):
        numbers["export"][stage] = load_json(at[stage].export(stage))
    return numbers


def _image(file: Path) -> Tensor:
    return load_tensors(file)[0]["image"]


def measured_in(experiment: Experiment, files: RunFiles) -> Tensor | None:
    """Tell which shots are measured; None where the experiment has no flip angles of shots.

    Parameters
    ----------
    experiment
        The experiment; of several sequences, it is not known.
    files
        The files of the run that has its start.
    """
    if experiment.flip_angles is None or experiment.sequence is None:
        return None
    start = sequence_setup(experiment.sequence, experiment.parameters).start
    repetitions = Repetitions.from_tensors(*load_tensors(files.sequence(START)))
    return measured_shots(repetitions, start[experiment.flip_angles])


def _width(sequence: Path, phantom: Phantom, simulator: Mapping[str, Any]) -> float | None:
    """Width of the point-spread function, unless the sequence encodes none along y."""
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    try:
        return point_spread_width(repetitions, phantom, metadata["fov"], simulation=simulator)
    except SequenceError:
        return None

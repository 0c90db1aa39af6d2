"""Collect the numbers of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.errors import SequenceError
from pulseq_zero.experiments.evaluation import evaluate
from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.phantom import Phantom
from pulseq_zero.point_spread import point_spread_width
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.store import load_json, load_table, load_tensors, save_json

SECTIONS = ("title", "sequence", "parameters", "loss", "scan", "figure")


def run(
    experiment: Experiment,
    stages: Sequence[str],
    simulator: Mapping[str, Any],
    images: Sequence[Path],
    sequences: Sequence[Path],
    start: Path,
    parameters: Path,
    history: Path,
    phantom: Path,
    evaluation: Path,
    optimized: Path | None = None,
    imported: Path | None = None,
    scan: Path | None = None,
    start_export: Path | None = None,
    optimized_export: Path | None = None,
) -> None:
    """Collect the numbers of one run.

    Parameters
    ----------
    experiment
        The experiment.
    stages, images, sequences
        The stages, their images at the tight accuracy, and their traced sequences.
    simulator
        Settings of the `Simulator`.
    start, optimized
        Images at the optimization's accuracy.
    parameters, history
        What the optimization left.
    phantom
        What was imaged.
    evaluation
        The numbers, as JSON.
    imported
        Image of the exported file as it is imported.
    scan
        The scan, where there is one.
    start_export, optimized_export
        Whether the exported files are what PyPulseq alone writes.
    """
    values, found = load_tensors(parameters)
    imaged = Phantom.load(phantom)
    numbers = evaluate(
        experiment,
        imaged,
        tight_images=dict(zip(stages, map(_image, images), strict=True)),
        start_image=_image(start),
        optimized_image=None if optimized is None else _image(optimized),
        imported_image=None if imported is None else _image(imported),
        point_spread_widths={
            stage: _width(file, imaged, simulator)
            for stage, file in zip(stages, sequences, strict=True)
        },
        start=sequence_setup(experiment.sequence, experiment.parameters).start,
        parameters=values,
        found=found,
        history=load_table(history),
        scan=None if scan is None else load_table(scan),
    )
    for stage, file in ((START, start_export), (OPTIMIZED, optimized_export)):
        if file is not None:
            numbers["export"][stage] = load_json(file)
    save_json(evaluation, numbers)


def _image(file: Path) -> Tensor:
    return load_tensors(file)[0]["image"]


def _width(sequence: Path, phantom: Phantom, simulator: Mapping[str, Any]) -> float | None:
    """Width of the point-spread function, unless the sequence encodes none along y."""
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    try:
        return point_spread_width(repetitions, phantom, metadata["fov"], simulation=simulator)
    except SequenceError:
        return None

"""Compare the images of an experiment's exported sequences with those of the judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.acquisition import acquire
from pulseq_zero.experiments.experiment import make_loss, sequence_setup, stage_values
from pulseq_zero.experiments.settings import Experiment, JudgeSettings
from pulseq_zero.experiments.stages import ENDS, START
from pulseq_zero.experiments.validation import judge_results, judged_phantom, validation_row
from pulseq_zero.figures.style import save_figure
from pulseq_zero.figures.validation import validation_figure
from pulseq_zero.imported import imported_repetitions
from pulseq_zero.losses import LossContext, loss_of
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator
from pulseq_zero.store import load_tensors, save_json

SECTIONS = ("sequence", "parameters", "image", "loss")


def run(
    name: str,
    experiment: Experiment,
    settings: JudgeSettings,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    optimization: Path,
    seq: Sequence[Path],
    optimizer: Sequence[Path],
    tight: Sequence[Path],
    imported: Sequence[Path],
    bloch: Sequence[Path],
    bloch_full: Sequence[Path],
    validation: Path,
    png: Path,
    pdf: Path,
) -> None:
    """Validate the start and the optimized sequence.

    Parameters
    ----------
    name, experiment
        The experiment.
    settings
        Settings of the judge.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    phantom, optimization
        What is imaged, and the parameters of all iterations.
    seq
        The exported files of start and optimized sequence; the same stages of all that follows.
    optimizer, tight, imported, bloch, bloch_full
        Images, see `pulseq_zero.experiments.validation.validation_row`.
    validation
        A row a stage, as JSON.
    png, pdf
        The figure.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    imaged = Phantom.load(phantom)
    thickness = settings.thickness * imaged.slice_thickness
    sub_pulses = max(setup.sub_pulses, settings.sub_pulses)
    in_full = judged_phantom(imaged, thickness)
    simulations = {
        "pdg": (
            setup.sub_pulses,
            Simulator(judged_phantom(imaged), accuracy=accuracy, **simulator),
        ),
        "pdg_sub_pulses": (
            sub_pulses,
            Simulator(in_full, accuracy=settings.full_accuracy, **simulator),
        ),
    }
    files = {
        "optimizer": optimizer,
        "tight": tight,
        "imported": imported,
        "bloch": bloch,
        "bloch_full": bloch_full,
    }
    images: dict[str, dict[str, Tensor]] = {}
    judges = {}
    for number, stage in enumerate(ENDS):
        stored = {kind: load_tensors(of_stages[number]) for kind, of_stages in files.items()}
        images[stage] = {kind: tensors["image"] for kind, (tensors, _) in stored.items()}
        judges[stage] = {kind: stored[kind][1] for kind in ("bloch", "bloch_full")}
        for kind, (count, simulates) in simulations.items():
            images[stage][kind] = acquire(
                imported_repetitions(seq[number], count),
                simulates,
                matrix=experiment.image.matrix,
                fov=tuple(stored["tight"][1]["fov"]),
            ).image
    # Each simulation is held against its own start image
    losses = {
        kind: make_loss(experiment.loss, LossContext(imaged, images[START][kind], setup.start))
        for kind in ("optimizer", "tight", "bloch")
    }
    rows = []
    for stage in ENDS:
        values = stage_values(setup, stage, optimization)
        found = {kind: loss_of(loss, values, images[stage][kind]) for kind, loss in losses.items()}
        rows.append(validation_row(name, stage, images[stage], found, judges[stage]))
    rows = judge_results(rows)
    save_json(validation, rows)
    save_figure(validation_figure(images, rows), png, pdf)

"""Compare the images of an experiment's exported sequences with those of the judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.experiments.acquisitions import stored_acquisition
from pulseq_zero.experiments.experiment import (
    make_loss,
    sequence_setup,
    stage_values,
)
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_image
from pulseq_zero.experiments.settings import Experiment, JudgeSettings
from pulseq_zero.experiments.stages import ENDS, FULL, OPTIMIZATION, START, judged_by
from pulseq_zero.experiments.validation import JUDGED, judge_results, judged_phantom, validation_row
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.figures.validation import validation_figure
from pulseq_zero.files.store import load_tensors, save_json
from pulseq_zero.imaging.acquisition import Acquisition, acquire
from pulseq_zero.imaging.pictures import side_by_side
from pulseq_zero.optimization.loss import loss_of
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator

SECTIONS = ("sequence", "parameters", "image", "reconstruction", "loss")


def run(
    name: str,
    experiment: Experiment,
    settings: JudgeSettings,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    files: RunFiles,
    start: RunFiles,
    judges: Mapping[str, RunFiles],
    png: Path,
    pdf: list[Path],
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
    phantom
        What is imaged.
    files, start
        The files of the run, of which ``validation`` is made, a row a stage; and of the run that
        has its start.
    judges
        For each stage the files of the run that has its judge.
    png, pdf
        The figure.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    imaged = Phantom.load(phantom)
    thickness = settings.thickness * imaged.slice_thickness
    in_full = judged_phantom(imaged, thickness)
    simulations: dict[str, tuple[Pulses, Simulator]] = {
        "pdg": (
            setup.pulses,
            Simulator(
                in_full if setup.pulses == "played" else judged_phantom(imaged),
                accuracy=accuracy,
                **simulator,
            ),
        ),
        "pdg_played": (
            "played",
            Simulator(in_full, accuracy=settings.full_accuracy, **simulator),
        ),
    }
    as_optimized, *_ = judged_by(setup.pulses)
    images: dict[str, dict[str, Tensor]] = {}
    acquired: dict[str, dict[str, Acquisition]] = {}
    scatter, data = {}, imaged.simulation_data()
    reconstruction = make_reconstruction(experiment.reconstruction)
    for stage in ENDS:
        own, judge = start if stage == START else files, judges[stage]
        files_of = {
            "optimizer": own.image(stage, OPTIMIZATION),
            "tight": own.image(stage),
            "imported": own.imported(stage),
            "bloch": judge.judge(stage, as_optimized),
            "bloch_full": judge.judge(stage, FULL),
        }
        stored = {kind: load_tensors(file) for kind, file in files_of.items()}
        images[stage] = {kind: tensors["image"] for kind, (tensors, _) in stored.items()}
        scatter[stage] = {kind: stored[kind][1] for kind in ("bloch", "bloch_full")}
        for kind, (pulses, simulates) in simulations.items():
            images[stage][kind] = shown_image(
                acquire(
                    imported_repetitions(own.seq(stage), pulses, check_signature=True),
                    simulates,
                    matrix=experiment.image.matrix,
                    fov=tuple(stored["tight"][1]["fov"]),
                    own_reconstruction=reconstruction,
                )
            )
        sequence, seq = own.sequence(stage), own.seq(stage)
        acquired[stage] = {
            kind: stored_acquisition(files_of[kind], sequence, seq, experiment.image, data)
            for kind in JUDGED
        }
    # Each simulation is held against its own start image
    losses = {
        kind: make_loss(experiment.loss, LossContext(imaged, images[START][kind], setup.start))
        for kind in JUDGED
    }
    rows, axes = [], experiment.image.axes
    for stage in ENDS:
        values = stage_values(setup, stage, files.parameters)
        found = {
            kind: loss_of(loss, values, acquired[stage][kind]) for kind, loss in losses.items()
        }
        rows.append(
            validation_row(name, stage, images[stage], images[START], found, scatter[stage], axes)
        )
    rows = judge_results(rows)
    save_json(files.validation, rows)
    pictures = {
        stage: {kind: side_by_side(image, axes) for kind, image in of.items()}
        for stage, of in images.items()
    }
    save_in_widths(lambda: validation_figure(pictures, rows), png, *pdf)

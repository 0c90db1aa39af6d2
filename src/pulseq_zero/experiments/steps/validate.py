"""Compare the images of an experiment's exported sequences with those of the judge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.experiments.acquisitions import stored_acquisition
from pulseq_zero.experiments.experiment import make_loss, stage_values
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import StageSetup, setups_of
from pulseq_zero.experiments.reconstruction import one_or_all, shown_image
from pulseq_zero.experiments.settings import Experiment, JudgeSettings
from pulseq_zero.experiments.stages import (
    ENDS,
    FULL,
    OPTIMIZATION,
    START,
    judged_by,
    of_sequence,
    point_of,
    sequence_of,
)
from pulseq_zero.experiments.validation import (
    JUDGED,
    changes_in_regions,
    judge_results,
    judged_phantom,
    validation_row,
)
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.figures.validation import validation_figure
from pulseq_zero.files.store import load_tensors, save_json
from pulseq_zero.imaging.acquisition import Acquisition, acquire
from pulseq_zero.imaging.pictures import side_by_side
from pulseq_zero.optimization.loss import loss_of
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator

SECTIONS = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "modules", "loss",
)  # fmt: skip


def run(
    name: str,
    experiment: Experiment,
    settings: JudgeSettings,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    files: RunFiles,
    start: RunFiles,
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
    png, pdf
        The figure.
    """
    setups = setups_of(experiment)
    setup = next(iter(setups.values()))
    imaged = Phantom.load(phantom)

    @cache
    def simulates(thickness: float, accurately: float) -> Simulator:
        return Simulator(judged_phantom(imaged, thickness), accuracy=accurately, **simulator)

    simulations: dict[str, tuple[Pulses, str, float]] = {
        "pdg": (setup.pulses, "bloch", accuracy),
        "pdg_played": ("played", "bloch_full", settings.full_accuracy),
    }
    as_optimized, *_ = judged_by(setup.pulses)
    images: dict[str, dict[str, Tensor]] = {}
    acquired: dict[str, dict[str, Acquisition]] = {}
    scatter, data = {}, imaged.simulation_data()
    at = {end: StageSetup(experiment, end, files.parameters) for end in ENDS}
    for stage in [of_sequence(end, name) for name in setups for end in ENDS]:
        end = point_of(stage)
        own = start if end == START else files
        files_of = {
            "optimizer": own.image(stage, OPTIMIZATION),
            "tight": own.image(stage),
            "imported": own.imported(stage),
            "bloch": own.judge(stage, as_optimized),
            "bloch_full": own.judge(stage, FULL),
        }
        stored = {kind: load_tensors(file) for kind, file in files_of.items()}
        images[stage] = {kind: tensors["image"] for kind, (tensors, _) in stored.items()}
        scatter[stage] = {kind: stored[kind][1] for kind in ("bloch", "bloch_full")}
        for kind, (pulses, judge, accurately) in simulations.items():
            images[stage][kind] = shown_image(
                acquire(
                    imported_repetitions(own.seq(stage), pulses, check_signature=True),
                    simulates(scatter[stage][judge]["thickness"], accurately),
                    matrix=experiment.image.matrix,
                    fov=tuple(stored["tight"][1]["fov"]),
                    own_reconstruction=at[end].reconstruction,
                )
            )
        sequence, seq = own.sequence(stage), own.seq(stage)
        acquired[stage] = {
            kind: stored_acquisition(files_of[kind], sequence, seq, experiment.image, data)
            for kind in JUDGED
        }

    def loss(kind: str, end: str) -> float:
        # Each simulation is held against its own start image
        begin, there = (
            {name: of_sequence(point, name) for name in setups} for point in (START, end)
        )
        start_images = {name: images[stage][kind] for name, stage in begin.items()}
        context = at[end].context(imaged, start_images, setup.start)
        return loss_of(
            make_loss(experiment.loss, context),
            stage_values(setup, end, files.parameters),
            one_or_all({name: acquired[stage][kind] for name, stage in there.items()}),
        )

    losses = {end: {kind: loss(kind, end) for kind in JUDGED} for end in ENDS}
    axes = experiment.image.axes
    rows = []
    for stage, of_it in images.items():
        begin = images[of_sequence(START, sequence_of(stage))]
        row = validation_row(
            name, stage, of_it, begin, losses[point_of(stage)], scatter[stage], axes
        )
        rows.append(row | changes_in_regions(of_it, begin, imaged))
    rows = judge_results(rows)
    save_json(files.validation, rows)
    pictures = {
        stage: {kind: side_by_side(image, axes) for kind, image in of.items()}
        for stage, of in images.items()
    }
    save_in_widths(lambda: validation_figure(pictures, rows), png, *pdf)

"""Compare the images of an experiment's exported sequences with those of the judge."""

from pathlib import Path
from typing import Any

import torch

from pulseq_zero.acquisition import acquire
from pulseq_zero.experiment import make_loss, sequence_setup, stage_values
from pulseq_zero.figures.style import save_figure
from pulseq_zero.figures.validation import validation_figure
from pulseq_zero.imported import imported_repetitions
from pulseq_zero.logs import logged
from pulseq_zero.losses import LossContext
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator
from pulseq_zero.store import load_tensors, save_json
from pulseq_zero.validation import judge_results, judged_phantom, loss_of, validation_row

STAGES = ("start", "optimized")
JUDGES = ("bloch", "bloch_full")


def main(
    name: str,
    experiment: dict[str, Any],
    settings: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    files: dict[str, list[Path]],
    phantom: Path,
    optimization: Path,
    validation: Path,
    *figures: Path,
) -> None:
    setup, imaged = sequence_setup(experiment), Phantom.load(phantom)
    thickness = settings["thickness"] * imaged.slice_thickness
    sub_pulses = max(setup.sub_pulses, settings["sub_pulses"])
    simulator = Simulator(judged_phantom(imaged), accuracy=accuracy, **simulation)
    in_full = Simulator(
        judged_phantom(imaged, thickness), accuracy=settings["full_accuracy"], **simulation
    )
    simulations = {
        "pdg": (setup.sub_pulses, simulator),
        "pdg_sub_pulses": (sub_pulses, in_full),
    }
    images: dict[str, dict[str, torch.Tensor]] = {}
    judges = {}
    for number, stage in enumerate(STAGES):
        stored = {
            kind: load_tensors(files[kind][number])
            for kind in ("optimizer", "tight", "imported", *JUDGES)
        }
        images[stage] = {kind: tensors["image"] for kind, (tensors, _) in stored.items()}
        judges[stage] = {kind: stored[kind][1] for kind in JUDGES}
        for kind, (count, simulates) in simulations.items():
            images[stage][kind] = acquire(
                imported_repetitions(files["seq"][number], count),
                simulates,
                matrix=setup.matrix,
                fov=tuple(stored["tight"][1]["fov"]),
            ).image
    # Each simulation is held against its own start image
    losses = {
        kind: make_loss(experiment["loss"], LossContext(imaged, images["start"][kind], setup.start))
        for kind in ("optimizer", "tight", "bloch")
    }
    rows = []
    for stage in STAGES:
        values = stage_values(setup, stage, optimization)
        found = {k: loss_of(loss, values, images[stage][k]) for k, loss in losses.items()}
        rows.append(validation_row(name, stage, images[stage], found, judges[stage]))
    rows = judge_results(rows)
    save_json(validation, rows)
    save_figure(validation_figure(images, rows), *figures)


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.wildcards.experiment,
            snakemake.params.experiment,
            snakemake.params.validation,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            {
                kind: [Path(file) for file in snakemake.input[kind]]
                for kind in ("seq", "optimizer", "tight", "imported", *JUDGES)
            },
            Path(snakemake.input.phantom),
            Path(snakemake.input.optimization),
            Path(snakemake.output.validation),
            Path(snakemake.output.png),
            Path(snakemake.output.pdf),
        )

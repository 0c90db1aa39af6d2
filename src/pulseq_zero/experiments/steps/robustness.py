"""Evaluate an optimized sequence on other phantoms than its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.robustness import robustness_table
from pulseq_zero.experiments.settings import Experiment, NoiseSettings
from pulseq_zero.experiments.stages import OPTIMIZED
from pulseq_zero.files.store import save_table
from pulseq_zero.phantom import Phantom, build_phantom

SECTIONS = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "modules", "loss",
)  # fmt: skip


def run(
    name: str,
    experiment: Experiment,
    accuracy: float,
    simulator: Mapping[str, Any],
    noise: NoiseSettings,
    phantom: Path,
    others: Mapping[str, Mapping[str, Any]],
    files: RunFiles,
) -> None:
    """Evaluate a sequence on several phantoms.

    Parameters
    ----------
    name, experiment
        The experiment.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    noise
        Receiver noise that the gains are held against.
    phantom, others
        The experiment's phantom, and settings of the others by their names.
    files
        The files of the run, of which ``robustness`` is made, the table of `robustness_table` with
        ``experiment``, and the phantoms.
    """
    setup = next(iter(setups_of(experiment).values()))
    phantoms = {"its own": Phantom.load(phantom)}
    for number, (label, settings) in enumerate(others.items()):
        build_phantom(settings).save(files.phantom(number))
        phantoms[label] = Phantom.load(files.phantom(number))
    table = robustness_table(
        experiment,
        stage_values(setup, OPTIMIZED, files.parameters),
        phantoms,
        accuracy=accuracy,
        optimization=files.parameters,
        simulator=simulator,
        noise=noise,
    )
    table.insert(0, "experiment", name)
    save_table(files.robustness, table)

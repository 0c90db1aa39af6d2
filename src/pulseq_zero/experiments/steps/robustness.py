"""Evaluate an optimized sequence on other phantoms than its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulseq_zero.experiments.experiment import sequence_setup, stage_values
from pulseq_zero.experiments.robustness import robustness_table
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import save_table

SECTIONS = ("sequence", "parameters", "image", "loss")


def run(
    name: str,
    experiment: Experiment,
    accuracy: float,
    simulator: Mapping[str, Any],
    optimization: Path,
    labels: Sequence[str],
    phantoms: Sequence[Path],
    robustness: Path,
) -> None:
    """Evaluate a sequence on several phantoms.

    Parameters
    ----------
    name, experiment
        The experiment.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    optimization
        The parameters of all iterations.
    labels, phantoms
        Names of the phantoms, and their files.
    robustness
        The table of `robustness_table`, with ``experiment``.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    table = robustness_table(
        experiment,
        stage_values(setup, OPTIMIZED, optimization),
        {label: Phantom.load(file) for label, file in zip(labels, phantoms, strict=True)},
        accuracy=accuracy,
        simulator=simulator,
    )
    table.insert(0, "experiment", name)
    save_table(robustness, table)

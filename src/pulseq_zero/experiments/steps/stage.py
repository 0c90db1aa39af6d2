"""Take a stage of an optimization: trace, simulate, export, and simulate what was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.settings import Experiment, SimulationSettings
from pulseq_zero.experiments.stages import START, TIGHT, point_of
from pulseq_zero.experiments.steps import export, import_seq, simulate, trace

SECTIONS = ("sequence", "sequences", "parameters", "image", "reconstruction", "modules")


def run(
    experiment: Experiment,
    stage: str,
    simulation: SimulationSettings,
    plain_script: Path,
    phantom: Path,
    files: RunFiles,
) -> None:
    """Take a stage.

    Parameters
    ----------
    experiment
        The experiment.
    stage
        ``start``, ``optimized`` or ``iteration_N``, of one of several sequences ``start/NAME``.
    simulation
        Settings of the simulation.
    plain_script
        See `pulseq_zero.experiments.steps.export.run`.
    phantom
        What is imaged.
    files
        The files of the run: all but the start needs its parameters, and `RunFiles.stage` is made.
    """
    optimization = None if point_of(stage) == START else files.parameters
    at: dict[str, Any] = {"stage": stage, "optimization": optimization}
    sequence, traced, seq = files.sequence(stage), files.traced(stage), files.seq(stage)
    trace.run(experiment, stage, sequence, traced, optimization)
    for level, accuracy in simulation.accuracies.items():
        change = simulation.tight_change if level == TIGHT else None
        image = files.image(stage, level)
        simulate.run(
            experiment, accuracy, change, simulation.simulator, phantom, sequence, image, **at
        )
    check = files.export(stage)
    export.run(experiment, stage, plain_script, traced, seq, check, optimization)
    image = files.imported(stage)
    import_seq.run(experiment, simulation.accuracy, simulation.simulator, phantom, seq, image, **at)

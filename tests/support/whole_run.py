"""All steps of one experiment, as the pipeline takes them, without Snakemake."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt

from pulseq_zero.experiments.layout import ResultFiles, RunFiles
from pulseq_zero.experiments.settings import (
    Experiment,
    JudgeSettings,
    LimitSettings,
    NoiseSettings,
    SimulationSettings,
)
from pulseq_zero.experiments.stages import (
    ENDS,
    FULL,
    OPTIMIZED,
    START,
    judged_by,
    of_sequence,
    reported,
)
from pulseq_zero.phantom import Phantom

_ROOT = Path(__file__).parents[2]


def step_arguments(
    results: ResultFiles, phantom: Path, simulation: SimulationSettings
) -> dict[str, Any]:
    """Return what all steps of an experiment called small are given, beside the experiment."""
    files = results.run("small")
    return {
        "name": "small",
        "simulation": simulation,
        "simulator": simulation.simulator,
        "accuracy": simulation.tight_accuracy,
        "plain_script": _ROOT / "workflow/scripts/plain_pypulseq.py",
        "phantom": phantom,
        "ensemble": [],
        "checkpoints": results.checkpoints,
        "limit_settings": LimitSettings(),
        "files": files,
        "start": files,
        "results": results,
        "png": results.figure("validation", "png"),
        "pdf": [results.figure("validation", "pdf"), results.figure("b", "pdf")],
    }


def run_steps(
    experiment: Experiment, phantom: Phantom, folder: Path, *, tolerance: float = 1.0
) -> RunFiles:
    """Optimize, judge, validate and report an experiment, coarsely; returns its files.

    The tolerance is that of the judge, by which its spins are as few as can be.
    """
    results = ResultFiles(folder)
    names = list(experiment.sequences_by_name)
    files, imaged = results.run("small"), results.phantom("phantom")
    phantom.save(imaged)
    simulation = SimulationSettings(accuracy=1e-2, tight_accuracy=1e-2, tight_change=1.0)
    given: dict[str, Any] = {
        **step_arguments(results, imaged, simulation),
        "experiment": experiment,
        "settings": JudgeSettings(
            tolerance=tolerance,
            full_tolerance=tolerance,
            largest=4096,
            full_accuracy=1e-2,
            thickness=1.0,
        ),
        "noise": NoiseSettings(count=2),
        "others": {},
        "stages": reported([], names),
    }

    def take(step: str, **arguments: Any) -> None:
        run = import_module(f"pulseq_zero.experiments.steps.{step}").run
        known = {**given, **arguments}
        run(**{name: known[name] for name in signature(run).parameters if name in known})

    for name in names:
        take("stage", stage=of_sequence(START, name))
    take("optimize")
    for name in names:
        if name:
            take("stage", stage=of_sequence(OPTIMIZED, name))
        for end in ENDS:
            for physics in {*judged_by(experiment.pulses), FULL}:
                take("judge", stage=of_sequence(end, name), physics=physics)
    take("robustness")
    with ExitStack() as stack:
        # Drawn, and not rendered six times each, which would take longer than all else
        for step in ("validate", "experiment_figure", "sequence_figures"):
            place = f"pulseq_zero.experiments.steps.{step}.save_in_widths"
            stack.enter_context(mock.patch(place, lambda draw, *_: plt.close(draw())))
        take("validate")
        take("evaluate")
    return files

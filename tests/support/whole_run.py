"""All steps of one experiment, as the pipeline takes them, without Snakemake."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from pulseq_zero.experiments.layout import ResultFiles, RunFiles
from pulseq_zero.experiments.settings import (
    Experiment,
    JudgeSettings,
    LimitSettings,
    NoiseSettings,
    SimulationSettings,
)
from pulseq_zero.experiments.stages import ENDS, FULL, OPTIMIZATION, START, judged_by
from pulseq_zero.phantom import Phantom

_ROOT = Path(__file__).parents[2]


def run_steps(experiment: Experiment, phantom: Phantom, folder: Path) -> RunFiles:
    """Optimize, judge, validate and report an experiment, coarsely; returns its files."""
    results = ResultFiles(folder)
    files, imaged = results.run("small"), results.phantom("phantom")
    phantom.save(imaged)
    simulation = SimulationSettings(accuracy=1e-2, tight_accuracy=1e-2, tight_change=1.0)
    given: dict[str, Any] = {
        "name": "small",
        "experiment": experiment,
        "simulation": simulation,
        "simulator": simulation.simulator,
        "accuracy": simulation.tight_accuracy,
        "plain_script": _ROOT / "workflow/scripts/plain_pypulseq.py",
        "phantom": imaged,
        "ensemble": [],
        "checkpoints": results.checkpoints,
        "settings": JudgeSettings(
            tolerance=1, full_tolerance=1, largest=256, full_accuracy=1e-2, thickness=1.0
        ),
        "noise": NoiseSettings(count=2),
        "others": {},
        "stages": ENDS,
        "limit_settings": LimitSettings(),
        "files": files,
        "results": results,
        "judges": dict.fromkeys(ENDS, files),
        "png": results.figure("validation", "png"),
        "pdf": [results.figure("validation", "pdf"), results.figure("b", "pdf")],
    }

    def take(step: str, **arguments: Any) -> None:
        run = import_module(f"pulseq_zero.experiments.steps.{step}").run
        known = {**given, **arguments}
        run(**{name: known[name] for name in signature(run).parameters if name in known})

    take("stage", stage=START)
    take("optimize", start=files.image(START, OPTIMIZATION))
    for stage in ENDS:
        for physics in {*judged_by(experiment.sequence.pulses), FULL}:
            take("judge", stage=stage, physics=physics)
    take("validate", start=files)
    take("robustness")
    take("evaluate", start=files)
    return files

"""Steps use the sections of an experiment that they declare: no others, and all of these."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

import pytest

from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.settings import (
    Experiment,
    JudgeSettings,
    SimulationSettings,
)
from pulseq_zero.experiments.stages import ENDS, FULL, START
from pulseq_zero.phantom import build_phantom
from support.whole_run import step_arguments

MODULE = "pulseq_zero.experiments.steps"
STEPS = (
    "stage",
    "optimize",
    "scan",
    "quality",
    "judge",
    "validate",
    "robustness",
    "evaluate",
    "overview_figures",
)


class Recorded:
    """An experiment that remembers which of its sections were read."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.read = experiment, set()

    def __getattr__(self, name):
        if name in Experiment.model_fields:
            self.read.add(name)
        found = getattr(Experiment, name, None)
        return found.fget(self) if isinstance(found, property) else getattr(self.experiment, name)


@pytest.fixture(scope="module")
def read(root, tmp_path_factory) -> dict[str, set[str]]:
    """Take all steps of a small experiment; returns what each has read of it."""
    results = ResultFiles(tmp_path_factory.mktemp("results"))
    files, phantom = results.run("small"), results.phantom("phantom")
    build_phantom({"matrix": 16}).save(phantom)
    experiment = Experiment(
        title="Small",
        sequence={
            "function": f"{root}/sequences/epi_ir.py:epi_ir",
            "arguments": {"n_read": 16, "n_phase": 16},
        },
        parameters={"TI": {"start": 2.0, "learning_rate": 0.1}},
        loss={"function": "pulseq_zero.optimization.losses:contrast", "settings": {"share": 0.3}},
        optimizer={"iterations": 1},
        report_iterations=[1],
        scan={"parameter": "TI", "first": 1.0, "last": 2.0, "count": 2},
        figure="inversion_time",
    )
    simulation = SimulationSettings(accuracy=0.1, tight_accuracy=0.1, tight_change=1.0)
    judge = JudgeSettings(tolerance=1, full_tolerance=1, largest=64, full_accuracy=0.1)
    given = {
        **step_arguments(results, phantom, simulation),
        "optimization": files.parameters,
        "scan": files.scan,
        "minima": files.minima,
        "variants": {},
        "quality": files.quality,
        "settings": judge,
        "others": {"coarse": {"matrix": 16}},
        "stages": ENDS,
    }
    recorded: dict[str, set[str]] = {}

    def take(step, **arguments):
        seen, run = Recorded(experiment), import_module(f"{MODULE}.{step}").run
        named = {name: {**given, **arguments}.get(name) for name in signature(run).parameters}
        run(**{**named, "experiment": seen})
        recorded.setdefault(step, set()).update(seen.read)

    take("stage", stage=START)
    for step in ("optimize", "scan", "quality"):
        take(step)
    for stage in ENDS:
        take("judge", stage=stage, physics=FULL)
    for step in ("validate", "robustness", "evaluate"):
        take(step)
    take("overview_figures", image=files.image(START))
    return recorded


@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_the_sections_that_it_declares(read, step):
    declared = import_module(f"{MODULE}.{step}").SECTIONS
    assert read[step] == set(declared)

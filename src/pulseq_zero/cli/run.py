"""Run one experiment: the pipeline's steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from torch import Tensor

from pulseq_zero.cli.project import Project
from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.limits import check_limits
from pulseq_zero.phantom import build_phantom
from pulseq_zero.seq_files import read_seq
from pulseq_zero.steps.export import export_stage
from pulseq_zero.steps.optimize import optimize_experiment
from pulseq_zero.steps.simulate import simulate_stage
from pulseq_zero.steps.trace import trace_stage
from pulseq_zero.store import atomic_path, load_table, load_tensors


@dataclass(frozen=True)
class ResultFiles:
    """Where the results of an experiment are: the same files that the pipeline makes.

    Attributes
    ----------
    folder
        Folder of the experiment.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.folder.resolve().name

    @property
    def experiment(self) -> Path:
        """Copy of the experiment file, as it was run; the pipeline makes none."""
        return self.folder / "experiment.yaml"

    @property
    def history(self) -> Path:
        """Losses of all iterations."""
        return self.folder / "optimization" / "history.csv"

    @property
    def parameters(self) -> Path:
        """Parameters of all iterations."""
        return self.folder / "optimization" / "parameters.safetensors"

    def phantom(self, number: int) -> Path:
        """Return the phantom of this number."""
        return self.folder / "phantoms" / f"phantom_{number}.safetensors"

    def image(self, stage: str, accuracy: str = "tight") -> Path:
        """Return image and signal of a stage."""
        return self.folder / stage / f"image_{accuracy}.safetensors"

    def sequence(self, stage: str) -> Path:
        """Return the traced sequence of a stage."""
        return self.folder / stage / "sequence.safetensors"

    def seq(self, stage: str) -> Path:
        """Return the ``.seq`` file of a stage, by the unchanged script."""
        return self.folder / stage / f"{self.name}.seq"


def run_experiment(project: Project, say: Callable[[str], None]) -> ResultFiles:
    """Optimize an experiment and simulate and export its start and its best iteration.

    Parameters
    ----------
    project
        The experiment.
    say
        Called with a line of text at every step.
    """
    files = ResultFiles(project.results / project.name)
    experiment = project.experiment
    with atomic_path(files.experiment) as path:
        path.write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
    say("Building the phantom")
    phantoms = [files.phantom(number) for number in range(len(project.phantoms))]
    for settings, file in zip(project.phantoms, phantoms, strict=True):
        build_phantom(settings).save(file)

    def stage(name: str, **accuracies: float) -> None:
        optimization = None if name == "start" else files.parameters
        traced = files.folder / name / "traced.seq"
        sequence = files.sequence(name)
        trace_stage(experiment, name, optimization, sequence, traced)
        for label, accuracy in accuracies.items():
            image = files.image(name, label)
            change = project.tight_change if label == "tight" else None
            simulate_stage(
                experiment, accuracy, change, project.simulation, phantoms[0], sequence, image
            )
        made = export_stage(experiment, name, optimization, files.seq(name))
        limits = check_limits(read_seq(files.seq(name)), made.system, project.limits)
        for row in limits[limits["passed"].eq(False)].itertuples():
            say(
                f"Warning: {row.quantity} of {files.seq(name)} is {row.value:g} {row.unit}, above "
                f"{row.limit:g}"
            )

    say("Simulating the start")
    stage("start", optimization=project.accuracy, tight=project.tight_accuracy)
    say(f"Optimizing, {experiment['optimizer']['iterations']} iterations")
    optimize_experiment(
        project.name,
        experiment,
        project.accuracy,
        project.tight_accuracy,
        project.simulation,
        phantoms[0],
        phantoms[1:],
        files.image("start", "optimization"),
        project.results / "checkpoints",
        files.parameters,
        files.history,
    )
    say("Simulating the optimized sequence")
    stage("optimized", tight=project.tight_accuracy)
    for iteration in experiment.get("report_iterations", []):
        stage(f"iteration_{iteration}", tight=project.tight_accuracy)
    return files


def summary(project: Project, files: ResultFiles) -> str:
    """Say what came out of an experiment, and where it is."""
    setup = sequence_setup(project.experiment)
    best = int(load_tensors(files.parameters)[1]["best_iteration"])
    history = load_table(files.history)
    judged = "loss" if history["verified_loss"].isna().all() else "verified_loss"
    lines = [
        f"Iteration {best} of {len(history) - 1} is the best: "
        f"loss {history[judged][0]:.5g} -> {history[judged][best]:.5g}"
    ]
    optimized = stage_values(setup, "optimized", files.parameters)
    for name, settings in project.experiment["parameters"].items():
        unit = settings.get("unit", "")
        lines.append(f"  {name}: {_shown(setup.start[name])} -> {_shown(optimized[name])} {unit}")
    lines += [
        "",
        f"Sequences:   {files.seq('start')}, {files.seq('optimized')}",
        f"Images:      {files.image('start')}, {files.image('optimized')}",
        f"History:     {files.history}",
        f"Parameters:  {files.parameters}",
        "",
        f"Look at them:        pulseq-zero show {files.folder}",
        f"For other programs:  pulseq-zero export {files.folder}",
    ]
    return "\n".join(lines)


def _shown(values: Tensor) -> str:
    if values.numel() == 1:
        return f"{float(values):.5g}"
    return f"{float(values.min()):.4g}..{float(values.max()):.4g}"

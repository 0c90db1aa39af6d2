"""Run one experiment: the pipeline's steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from torch import Tensor

from pulseq_zero.cli.project import Project
from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.layout import ResultFiles, RunFiles
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.stages import (
    ENDS,
    OPTIMIZATION,
    OPTIMIZED,
    START,
    TIGHT,
    of_sequence,
    point_of,
    reported,
)
from pulseq_zero.experiments.steps import simulate, trace
from pulseq_zero.experiments.steps.export import export_stage
from pulseq_zero.experiments.steps.optimize import optimize_parameters
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import atomic_path, load_table, load_tensors, remove_leftovers
from pulseq_zero.optimization.limits import check_limits
from pulseq_zero.phantom import build_phantom


def run_experiment(project: Project, say: Callable[[str], None]) -> RunFiles:
    """Optimize an experiment and simulate and export its start and its best iteration.

    Parameters
    ----------
    project
        The experiment.
    say
        Called with a line of text at every step.
    """
    results = ResultFiles(Path(project.config.results))
    files = results.run(project.name)
    remove_leftovers(results.folder)
    experiment, settings = project.experiment, project.config.simulation
    with atomic_path(files.experiment) as path:
        given = experiment.model_dump(mode="json", exclude_unset=True)
        path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    say("Building the phantom")
    phantoms = [files.phantom(number) for number in range(len(project.phantoms))]
    for phantom, file in zip(project.phantoms, phantoms, strict=True):
        build_phantom(phantom).save(file)

    def stage(name: str, *accuracies: str) -> None:
        optimization = None if point_of(name) == START else files.parameters
        sequence, seq = files.sequence(name), files.seq(name)
        trace.run(experiment, name, sequence, files.traced(name), optimization)
        for accuracy in accuracies:
            simulate.run(
                experiment,
                settings.accuracies[accuracy],
                settings.tight_change if accuracy == TIGHT else None,
                settings.simulator,
                phantoms[0],
                sequence,
                files.image(name, accuracy),
                name,
                optimization,
            )
        made = export_stage(experiment, name, files.traced(name), seq, optimization)
        given = project.config.limits
        limits = check_limits(read_seq(seq), made.system, given.rf, given.pns_hardware)
        for row in limits[limits["passed"].eq(False)].itertuples():
            say(
                f"Warning: {row.quantity} of {seq} is {row.value:g} {row.unit}, above {row.limit:g}"
            )

    say("Simulating the start")
    names = list(experiment.sequences_by_name)
    for name in names:
        stage(of_sequence(START, name), OPTIMIZATION, TIGHT)
    say(f"Optimizing, {experiment.optimizer.iterations} iterations")
    checkpoint = optimize_parameters(
        experiment, settings, phantoms[0], phantoms[1:], files, results.checkpoints, files
    )
    checkpoint.unlink(missing_ok=True)
    say("Simulating the optimized sequence")
    for name in reported(experiment.report_iterations, names):
        if point_of(name) != START:
            stage(name, TIGHT)
    return files


def summary(project: Project, files: RunFiles) -> str:
    """Say what came out of an experiment, and where it is."""
    experiment = project.experiment
    setup = next(iter(setups_of(experiment).values()))
    best = int(load_tensors(files.parameters)[1]["best_iteration"])
    history = load_table(files.history)
    judged = "loss" if history["verified_loss"].isna().all() else "verified_loss"
    lines = [
        f"Iteration {best} of {len(history) - 1} is the best: "
        f"loss {history[judged][0]:.5g} -> {history[judged][best]:.5g}"
    ]
    optimized = stage_values(setup, OPTIMIZED, files.parameters)
    for name, settings in experiment.parameters.items():
        before, after = _shown(setup.start[name]), _shown(optimized[name])
        lines.append(f"  {name}: {before} -> {after} {settings.unit}")
    stages = [of_sequence(end, name) for name in experiment.sequences_by_name for end in ENDS]
    lines += [
        "",
        f"Sequences:   {', '.join(str(files.seq(stage)) for stage in stages)}",
        f"Images:      {', '.join(str(files.image(stage)) for stage in stages)}",
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

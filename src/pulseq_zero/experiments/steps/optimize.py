"""Optimize the parameters of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import stored_images
from pulseq_zero.experiments.modules import named_states
from pulseq_zero.experiments.optimization import optimize_experiment
from pulseq_zero.experiments.settings import Experiment, SimulationSettings, with_sections
from pulseq_zero.experiments.stages import OPTIMIZATION, OPTIMIZED, START
from pulseq_zero.experiments.steps import stage
from pulseq_zero.files.store import save_table, save_tensors
from pulseq_zero.optimization.checkpoints import fingerprint
from pulseq_zero.phantom import Phantom

SECTIONS = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "modules", "loss",
    "optimizer", "phantoms",
)  # fmt: skip


def run(
    experiment: Experiment,
    simulation: SimulationSettings,
    plain_script: Path,
    phantom: Path,
    ensemble: Sequence[Path],
    start: RunFiles,
    checkpoints: Path,
    files: RunFiles,
) -> None:
    """Optimize the parameters of an experiment, and take the stage of the best iteration.

    Of several sequences, whose stages are many, these are taken by themselves.

    Parameters
    ----------
    experiment, simulation, phantom, ensemble, start, checkpoints, files
        As for `optimize_parameters`.
    plain_script
        See `pulseq_zero.experiments.steps.export.run`.
    """
    checkpoint = optimize_parameters(
        experiment, simulation, phantom, ensemble, start, checkpoints, files
    )
    if experiment.sequence is not None:
        stage.run(experiment, OPTIMIZED, simulation, plain_script, phantom, files)
    checkpoint.unlink(missing_ok=True)


def optimize_parameters(
    experiment: Experiment,
    simulation: SimulationSettings,
    phantom: Path,
    ensemble: Sequence[Path],
    start: RunFiles,
    checkpoints: Path,
    files: RunFiles,
) -> Path:
    """Optimize the parameters of an experiment, or go on where an interrupted run was.

    Parameters
    ----------
    experiment
        The experiment.
    simulation
        Settings of the simulation: its accuracy is that of the optimization, its tight one that
        of the verification that chooses the best iteration.
    phantom, ensemble
        What is imaged, and further phantoms to optimize for.
    start
        The files of the run that has the images at the start values.
    checkpoints
        Folder for the checkpoint.
    files
        The files of the run, of which ``parameters`` and ``history`` are made: for each parameter
        its values (iterations + 1, ...) as safetensors, with ``best_iteration`` and
        ``seconds_per_iteration`` as metadata, and a row an iteration. Beside the parameters are the
        modules of the best iteration, as ``modules/NAME/...``.

    Returns
    -------
    Path
        The checkpoint, to be removed when all is written that follows from the optimization.
    """
    # Runs under other settings keep their own checkpoints and do not meet
    used = with_sections(experiment, SECTIONS)
    accuracies = simulation.accuracy, simulation.tight_accuracy
    settings = fingerprint([used, *accuracies, simulation.simulator])
    checkpoint = checkpoints / f"{files.name.replace('/', '_')}_{settings}.safetensors"
    result, modules = optimize_experiment(
        experiment,
        simulation,
        [Phantom.load(file) for file in (phantom, *ensemble)],
        stored_images(experiment, start, START, OPTIMIZATION),
        checkpoint=checkpoint,
    )
    save_table(files.history, result.history)
    save_tensors(
        files.parameters,
        {**result.parameters, **named_states(modules, result.modules)},
        {
            "best_iteration": result.best_iteration,
            "seconds_per_iteration": result.seconds_per_iteration,
        },
    )
    return checkpoint

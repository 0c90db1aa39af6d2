"""Optimize the parameters of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.optimization import context_of, optimize_experiment
from pulseq_zero.experiments.settings import Experiment, SimulationSettings, with_sections
from pulseq_zero.experiments.stages import OPTIMIZED
from pulseq_zero.experiments.steps import stage
from pulseq_zero.files.store import load_tensors, save_table, save_tensors
from pulseq_zero.optimization.checkpoints import fingerprint
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import Phantom

SECTIONS = ("sequence", "parameters", "image", "reconstruction", "loss", "optimizer")


def run(
    experiment: Experiment,
    simulation: SimulationSettings,
    plain_script: Path,
    phantom: Path,
    ensemble: Sequence[Path],
    start: Path,
    checkpoints: Path,
    files: RunFiles,
) -> None:
    """Optimize the parameters of an experiment, and take the stage of the best iteration.

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
    stage.run(experiment, OPTIMIZED, simulation, plain_script, phantom, files)
    checkpoint.unlink(missing_ok=True)


def optimize_parameters(
    experiment: Experiment,
    simulation: SimulationSettings,
    phantom: Path,
    ensemble: Sequence[Path],
    start: Path,
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
        Image at the start values.
    checkpoints
        Folder for the checkpoint.
    files
        The files of the run, of which ``parameters`` and ``history`` are made: for each parameter
        its values (iterations + 1, ...) as safetensors, with ``best_iteration`` and
        ``seconds_per_iteration`` as metadata, and a row an iteration.

    Returns
    -------
    Path
        The checkpoint, to be removed when all is written that follows from the optimization.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    own = LossContext(Phantom.load(phantom), load_tensors(start)[0]["image"], setup.start)
    others = [
        context_of(experiment, setup, simulation, Phantom.load(further)) for further in ensemble
    ]
    # Runs under other settings keep their own checkpoints and do not meet
    used = with_sections(experiment, SECTIONS)
    accuracies = simulation.accuracy, simulation.tight_accuracy
    settings = fingerprint([used, *accuracies, simulation.simulator])
    checkpoint = checkpoints / f"{files.name.replace('/', '_')}_{settings}.safetensors"
    result = optimize_experiment(
        experiment, setup, simulation, [own, *others], checkpoint=checkpoint
    )
    save_table(files.history, result.history)
    save_tensors(
        files.parameters,
        result.parameters,
        {
            "best_iteration": result.best_iteration,
            "seconds_per_iteration": result.seconds_per_iteration,
        },
    )
    return checkpoint

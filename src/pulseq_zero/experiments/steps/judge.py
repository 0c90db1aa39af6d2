"""Simulate an exported ``.seq`` file by Bloch isochromats."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.modules import modules_at
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_image
from pulseq_zero.experiments.settings import Experiment, JudgeSettings
from pulseq_zero.experiments.stages import FULL
from pulseq_zero.experiments.validation import judged_phantom, judged_thickness
from pulseq_zero.files.store import load_tensors, save_tensors
from pulseq_zero.imaging.acquisition import Acquisition
from pulseq_zero.imaging.metrics import nrmse
from pulseq_zero.judge.isochromats import converged_isochromats
from pulseq_zero.judge.seq import Physics, read_course
from pulseq_zero.phantom import Phantom

SECTIONS = ("image", "reconstruction", "modules")


def run(
    experiment: Experiment,
    stage: str,
    physics: Physics,
    settings: JudgeSettings,
    phantom: Path,
    files: RunFiles,
) -> None:
    """Simulate the ``.seq`` file of a stage with ever more spins until two runs agree.

    Parameters
    ----------
    experiment, stage
        The experiment that it was exported for, and its stage.
    physics
        Pulses that are ``instantaneous``, or take their time: ``full``.
    settings
        Settings of the judge.
    phantom
        What is imaged.
    files
        The files of the run, of which `RunFiles.judge` is made: ``image`` (..., x, y[, z]) and
        ``signal`` (samples, coils), with ``scatter`` between two runs, ``spins`` in a voxel,
        ``seconds``, and ``thickness`` of the slice of spins [m].
    """
    imaged, begin = Phantom.load(phantom), time.perf_counter()
    is_full = physics == FULL
    tensors, metadata = load_tensors(files.sequence(stage))
    repetitions = Repetitions.from_tensors(tensors, metadata)
    thickness = imaged.slice_thickness
    if is_full:
        thickness = judged_thickness(imaged, repetitions, settings.thickness)
    found = converged_isochromats(
        read_course(files.seq(stage), physics, check_signature=True),
        judged_phantom(imaged, thickness),
        tolerance=settings.full_tolerance if is_full else settings.tolerance,
        largest=settings.largest,
    )
    seconds = time.perf_counter() - begin
    # The trajectory labels a file's samples, but does not enter their simulation
    acquired = Acquisition(
        found.signal,
        repetitions,
        imaged.simulation_data(),
        experiment.image.matrix,
        tuple(metadata["fov"]),
        own_reconstruction=make_reconstruction(
            experiment.reconstruction, modules_at(experiment.modules, stage, files.parameters)
        ),
    )
    with torch.no_grad():
        one, other, mean = (
            shown_image(acquired.with_signal(signal)) for signal in (*found.seeds, found.signal)
        )
    scatter = nrmse(one - other + mean, mean)
    told = {"scatter": scatter, "spins": found.spins, "seconds": seconds, "thickness": thickness}
    save_tensors(files.judge(stage, physics), {"image": mean, "signal": found.signal}, told)

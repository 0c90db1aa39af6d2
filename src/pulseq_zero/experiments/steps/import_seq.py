"""Simulate an exported ``.seq`` file as it is imported, without the script that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.experiments.modules import modules_at
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_image
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import START
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import save_tensors
from pulseq_zero.imaging.acquisition import acquire, defined_fov
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator

SECTIONS = ("sequence", "sequences", "image", "reconstruction", "modules")


def run(
    experiment: Experiment,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    seq: Path,
    image: Path,
    stage: str = START,
    optimization: Path | None = None,
) -> None:
    """Simulate a ``.seq`` file.

    Parameters
    ----------
    experiment
        The experiment that it was exported for.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    phantom, seq
        What is imaged, and the file.
    image
        ``image`` (..., x, y[, z]) as safetensors.
    stage, optimization
        Of modules in the reconstruction, see `pulseq_zero.experiments.modules.modules_at`.
    """
    repetitions = imported_repetitions(seq, experiment.pulses, check_signature=True)
    imaged = excited_slice(Phantom.load(phantom), repetitions)
    acquisition = acquire(
        repetitions,
        Simulator(imaged.simulation_data(), accuracy=accuracy, **simulator),
        matrix=experiment.image.matrix,
        fov=experiment.image.fov or defined_fov(read_seq(seq), experiment.image.axes),
        own_reconstruction=make_reconstruction(
            experiment.reconstruction, modules_at(experiment.modules, stage, optimization)
        ),
    )
    save_tensors(image, {"image": shown_image(acquisition)}, {"accuracy": accuracy})

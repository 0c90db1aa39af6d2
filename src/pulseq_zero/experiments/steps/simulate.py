"""Simulate and reconstruct a traced sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.experiments.modules import modules_at
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_image
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import START
from pulseq_zero.files.store import load_tensors, save_tensors
from pulseq_zero.imaging.acquisition import Acquisition
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom
from pulseq_zero.simulation import Simulator, converged_accuracy

SECTIONS = ("image", "reconstruction", "modules")


def run(
    experiment: Experiment,
    accuracy: float,
    change: float | None,
    simulator: Mapping[str, Any],
    phantom: Path,
    sequence: Path,
    image: Path,
    stage: str = START,
    optimization: Path | None = None,
) -> None:
    """Simulate the sequence of a stage.

    Parameters
    ----------
    experiment
        The experiment.
    accuracy
        Accuracy of the simulation.
    change
        Halve the accuracy until the image changes by less than this, see `converged_accuracy`;
        None to take it as it is.
    simulator
        Further settings of the `Simulator`.
    phantom, sequence
        What is imaged, and the traced sequence.
    image
        ``image`` (..., x, y[, z]), ``signal`` (samples, coils) and ``kspace`` (samples, 4) [1/m] as
        safetensors, with the accuracy, the change of the image by higher accuracy, the field of
        view [m] and the phantom's position and orientation as metadata.
    stage, optimization
        Of modules in the reconstruction, see `pulseq_zero.experiments.modules.modules_at`.

    Raises
    ------
    SimulationError
        If the image still changes at the smallest accuracy.
    """
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    imaged = Phantom.load(phantom)
    data = excited_slice(imaged, repetitions).simulation_data()
    reconstruction = make_reconstruction(
        experiment.reconstruction, modules_at(experiment.modules, stage, optimization)
    )

    def acquired(signal: Tensor) -> Acquisition:
        return Acquisition(
            signal,
            repetitions,
            data,
            experiment.image.matrix,
            tuple(metadata["fov"]),
            own_reconstruction=reconstruction,
        )

    changed = None
    if change is None:
        signal = Simulator(data, accuracy=accuracy, **simulator)(repetitions).signal
    else:
        try:
            found = converged_accuracy(
                repetitions,
                data,
                change=change,
                start=accuracy,
                image=lambda signal: shown_image(acquired(signal)),
                **simulator,
            )
        except SimulationError as error:
            raise SimulationError(
                f"{image.parent}: {error} (simulation.tight_accuracy, tight_change)"
            ) from error
        accuracy, changed, signal = found.accuracy, found.change, found.signal
    save_tensors(
        image,
        {
            "image": shown_image(acquired(signal)),
            "signal": signal,
            "kspace": repetitions.kspace(),
        },
        {
            "accuracy": accuracy,
            "change": changed,
            "fov": metadata["fov"],
            "position": imaged.position,
            "orientation": imaged.orientation,
        },
    )

"""Simulate and reconstruct a traced sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulseq_zero.acquisition import acquire
from pulseq_zero.phantom import Phantom
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation import Simulator
from pulseq_zero.store import load_tensors, save_tensors


def simulate_stage(
    experiment: Mapping[str, Any],
    accuracy: float,
    simulation: Mapping[str, Any],
    phantom: Path,
    sequence: Path,
    image: Path,
) -> None:
    """Simulate the sequence of a stage.

    Parameters
    ----------
    experiment
        Content of the experiment's file, of which ``image`` is used.
    accuracy
        Accuracy of the simulation.
    simulation
        Further settings of the `Simulator`.
    phantom, sequence
        What is imaged, and the traced sequence.
    image
        ``image`` (x, y), ``signal`` (samples, coils) and ``kspace`` (samples, 4) [1/m] as
        safetensors, with the field of view [m] and the phantom's position and orientation as
        metadata.
    """
    tensors, metadata = load_tensors(sequence)
    repetitions = Repetitions.from_tensors(tensors, metadata)
    imaged = Phantom.load(phantom)
    matrix = experiment.get("image", {}).get("matrix")
    acquisition = acquire(
        repetitions,
        Simulator(imaged.simulation_data(), accuracy=accuracy, **simulation),
        matrix=tuple(matrix) if matrix else None,
        fov=tuple(metadata["fov"]),
    )
    save_tensors(
        image,
        {
            "image": acquisition.image,
            "signal": acquisition.signal,
            "kspace": repetitions.kspace(),
        },
        {
            "accuracy": accuracy,
            "fov": metadata["fov"],
            "position": imaged.position,
            "orientation": imaged.orientation,
        },
    )

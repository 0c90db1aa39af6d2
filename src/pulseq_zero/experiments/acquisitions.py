"""Acquisitions from the files of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pulseq_zero.conversion.costs import cost_of
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.settings import ImageSettings
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.acquisition import Acquisition

if TYPE_CHECKING:
    import MRzeroCore as mr0


def stored_acquisition(
    image: Path, sequence: Path, seq: Path, settings: ImageSettings, data: mr0.SimData
) -> Acquisition:
    """Return what was acquired at a stage of a run.

    Parameters
    ----------
    image
        ``image`` (..., x, y[, z]) and ``signal`` (samples, coils) as safetensors.
    sequence, seq
        The traced sequence, and the exported file.
    settings
        Pixels of the image.
    data
        What was imaged.
    """
    found, _ = load_tensors(image)
    tensors, metadata = load_tensors(sequence)
    return Acquisition(
        found["signal"],
        Repetitions.from_tensors(tensors, metadata),
        data,
        settings.matrix,
        tuple(metadata["fov"]),
        sequence_cost=lambda: cost_of(read_seq(seq)),
        shown=found["image"],
    )

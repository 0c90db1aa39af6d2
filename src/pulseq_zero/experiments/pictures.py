"""Pictures of stored images, of which there may be several."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.pictures import beside, side_by_side


def pictured(files: Iterable[Path], axes: int) -> tuple[Tensor, list[dict[str, Any]]]:
    """Load images and lay them out as one picture.

    Parameters
    ----------
    files
        Of each sequence, with ``image`` (..., x, y[, z]).
    axes
        How many axes an image has, 2 or 3.

    Returns
    -------
    tuple
        (x, y) picture, and the metadata of the files.
    """
    stored = [load_tensors(file) for file in files]
    pictures = [side_by_side(tensors["image"], axes) for tensors, _ in stored]
    return beside(pictures), [metadata for _, metadata in stored]

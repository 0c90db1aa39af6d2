"""Results in a folder: which stages there are, and their images, which may be of something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pulseq_zero.errors import StoreError, is_number
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.stages import ENDS, START, of_sequence
from pulseq_zero.files.store import load_tensors


def found_stages(files: RunFiles) -> list[str]:
    """List the stages of start and optimized that results have, those of each sequence."""
    inside = (files.folder / START).glob("*/")
    names = [each.name for each in inside if files.image(f"{START}/{each.name}").is_file()]
    return [of_sequence(end, name) for end in ENDS for name in sorted(names) or [""]]


def load_image(files: RunFiles, stage: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Read image and signal of a stage, and where the image lies.

    Raises
    ------
    StoreError
        If the file is missing, or holds anything else under these names.
    """
    path = files.image(stage)
    tensors, metadata = load_tensors(path)
    image, signal, fov = tensors["image"], tensors["signal"], metadata["fov"]
    orientation = metadata["orientation"]
    fits = {
        "fov": _are_numbers(fov, 2) or _are_numbers(fov, 3),
        "position": _are_numbers(metadata["position"], 3),
        "orientation": isinstance(orientation, list)
        and len(orientation) == 3
        and all(_are_numbers(row, 3) for row in orientation),
        "accuracy": is_number(metadata["accuracy"]),
        "signal": signal.ndim == 2 and signal.numel() > 0,
    }
    fits["image"] = fits["fov"] and image.ndim >= len(fov) and image.numel() > 0
    for name, is_one in fits.items():
        if not is_one:
            raise StoreError(f"{path} holds something else as {name!r}; make it again")
    return tensors, metadata


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(is_number, values))

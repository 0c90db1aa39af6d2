"""Acquisitions of which a test knows the image."""

from __future__ import annotations

from functools import cache

import torch

from pulseq_zero.imaging.acquisition import Acquisition
from pulseq_zero.imaging.model import ImagingModel
from support.toy import inversion_recovery, one_voxel


@cache
def toy() -> Acquisition:
    """Acquire a line of one voxel after an inversion."""
    return ImagingModel(inversion_recovery, one_voxel(), matrix=(8, 1))({})


def showing(image: torch.Tensor) -> Acquisition:
    """Return an acquisition with an (x, y) image."""
    return toy().showing(image)

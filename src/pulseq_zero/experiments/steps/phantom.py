"""Build a phantom and store it for the simulation and for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulseq_zero.phantom import build_phantom


def run(settings: Mapping[str, Any], phantom: Path, nifti: Path) -> None:
    """Build a phantom.

    Parameters
    ----------
    settings
        Settings of the phantom.
    phantom
        The phantom as safetensors.
    nifti
        Folder of its maps as NIfTI.
    """
    built = build_phantom(settings)
    built.save(phantom)
    built.save_nifti(nifti)

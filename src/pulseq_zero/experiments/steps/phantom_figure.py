"""Draw a phantom's maps and regions."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.figures.phantom import phantom_figure
from pulseq_zero.figures.style import save_figure
from pulseq_zero.phantom import Phantom


def run(phantom: Path, png: Path, pdf: Path) -> None:
    """Draw a phantom."""
    save_figure(phantom_figure(Phantom.load(phantom)), png, pdf)

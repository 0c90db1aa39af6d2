"""What the examples of the gallery share: the judge, and where results are written."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pypulseq
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.conversion import convert
from pulseq_zero.errors import ValidationError
from pulseq_zero.experiments.validation import judged_phantom, judged_thickness
from pulseq_zero.figures.style import save_figure
from pulseq_zero.files.store import save_json
from pulseq_zero.judge.isochromats import converged_isochromats
from pulseq_zero.judge.seq import read_course
from pulseq_zero.phantom import Phantom


def judged(sequence: pypulseq.Sequence, phantom: Phantom, tolerance: float = 1e-2) -> Tensor:
    """Simulate a sequence as its file has it, by Bloch isochromats in full physics.

    Parameters
    ----------
    sequence
        Of the plain script.
    phantom
        A slice, whose spins reach to both sides twice as far, or as far as the pulses excite.
    tolerance
        Spins are added until the signals of two seeds differ by no more than this.

    Returns
    -------
    Tensor
        (samples, coils) complex signal.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "exported.seq")
        sequence.write(str(file))
        course = read_course(file)
    thickness = judged_thickness(phantom, convert(sequence, pulses="played"), 2.0)
    found = converged_isochromats(course, judged_phantom(phantom, thickness), tolerance=tolerance)
    if found.scatter > tolerance:
        raise ValidationError(f"two runs of the judge differ by {found.scatter:.2g}")
    return found.signal


def save_example(name: str, make: Callable[[], tuple[Figure, Mapping[str, Any]]]) -> None:
    """Make an example's figure and numbers in the folder that the command line names."""
    folder = Path(sys.argv[1])
    figure, numbers = make()
    save_figure(figure, folder / "figures" / f"{name}.png")
    save_json(folder / f"{name}.json", dict(numbers))

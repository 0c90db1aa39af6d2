"""From which accuracy on a simulation no longer changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.result import Engine, relative_change
from pulseq_zero.simulation.simulator import DEFAULT_MEMORY, simulate

if TYPE_CHECKING:
    import MRzeroCore as mr0


@dataclass(frozen=True)
class Convergence:
    """From which accuracy on an image no longer changes.

    Attributes
    ----------
    accuracy
        That accuracy.
    change
        Largest change of the image by half and by a quarter of it: root sum of squares of the
        difference, relative to that of the image.
    signal
        (samples, coils) complex, at that accuracy.
    """

    accuracy: float
    change: float
    signal: Tensor


def converged_accuracy(
    repetitions: Repetitions,
    data: mr0.SimData,
    *,
    change: float = 1e-3,
    start: float = 1e-2,
    smallest: float = 1e-9,
    image: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | str = "cpu",
    engine: Engine = "pdg",
    memory: int = DEFAULT_MEMORY,
) -> Convergence:
    """Find the accuracy from which on the image no longer changes.

    The threshold is halved until the image changes by less than ``change``, relative to its
    norm, twice in a row: once may be chance, when no state lies between two thresholds.

    Parameters
    ----------
    repetitions, data
        Sequence and phantom.
    change
        Relative change of the image that counts as none.
    start, smallest
        First and last threshold to try. Half and a quarter of the first are tried in any case.
    image
        Makes an image of a (samples, coils) signal; None compares the signals.
    device, engine, memory
        As for `simulate`.

    Returns
    -------
    Convergence
        The largest accuracy whose image the two following ones did not change.

    Raises
    ------
    SimulationError
        If the image still changes at the smallest threshold, or is not finite, or if the sequence
        makes more states than are followed.
    """
    accuracies, signals, images = [start], list[Tensor](), list[Tensor]()
    with torch.no_grad():
        while True:
            result = simulate(
                repetitions.detach(),
                data,
                accuracies[-1],
                device=device,
                engine=engine,
                memory=memory,
            )
            if result.error.cut_states > change:
                raise SimulationError(
                    f"the image cannot be told to {change:g}: about "
                    f"{result.error.cut_states:.1g} of the signal is missing, as the sequence "
                    "makes more states than the simulation follows; spoil it, play fewer pulses, "
                    "or allow a larger change"
                )
            signals.append(result.signal)
            images.append(result.signal if image is None else image(result.signal))
            if not bool(images[-1].isfinite().all()):
                raise SimulationError(
                    f"the image holds values that are not finite at accuracy {accuracies[-1]:g}; "
                    "check how it is made of the signal"
                )
            if len(images) >= 3:
                largest = max(relative_change(images[-3], later) for later in images[-2:])
                if largest <= change:
                    return Convergence(accuracies[-3], largest, signals[-3])
            if len(images) >= 3 and accuracies[-1] / 2 < smallest:
                raise SimulationError(
                    f"the image still changes by more than {change:g} at accuracy "
                    f"{accuracies[-1]:g}; allow a smaller accuracy or a larger change"
                )
            accuracies.append(accuracies[-1] / 2)

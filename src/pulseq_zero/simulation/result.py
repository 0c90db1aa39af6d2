"""What a simulation tells: the signal, and what was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from torch import Tensor

Engine = Literal["pdg", "mrzero"]


@dataclass(frozen=True)
class ErrorEstimate:
    """What the simulation leaves out on purpose, relative to the signal.

    Attributes
    ----------
    diffusion
        Bound of the error of using the mean diffusion coefficient between a readout
        segment's anchor and its samples.
    cut_states
        About what states would add that were not made, as a repetition has more of them than
        `Thresholds.max_state_count`; zero where all were made.
    """

    diffusion: float
    cut_states: float
    _neglected_states: Callable[[], float] = field(repr=False)

    @cached_property
    def neglected_states(self) -> float:
        """Root sum of squares over all samples of what the states left out would add.

        Relative to that of the signal; about the accuracy, or more if there are more states than
        the prepass may make. So it is measured: when this is asked for the first time, the
        sequence is simulated once more, with far smaller thresholds and up to four times the
        states. The phantom must be as it was then.
        """
        return self._neglected_states()


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation.

    Attributes
    ----------
    signal
        (samples, coils) complex, differentiable.
    error
        What was left out.
    states
        Number of states that were simulated.
    engine
        Which main pass was used.
    """

    signal: Tensor
    error: ErrorEstimate
    states: int
    engine: Engine


def relative_change(values: Tensor, better: Tensor) -> float:
    """Return by how much better values differ, relative to their norm."""
    size = float(better.abs().square().sum().sqrt())
    change = float((values - better).abs().square().sum().sqrt())
    return change / size if size > 0 else change

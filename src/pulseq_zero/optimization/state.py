"""Where an optimization is, as its callback sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pulseq_zero.optimization.loss import Acquired
from pulseq_zero.optimization.steppers import Values


@dataclass(frozen=True)
class OptimizationState:
    """Where an optimization is, for its callback.

    Attributes
    ----------
    iteration
        Number of the iteration, 0 for the start.
    values
        The parameters that the loss is of, before this iteration's step.
    loss, terms
        The loss, and those of its terms that have names.
    verified_loss
        The loss at the accuracy of the verification; NaN where it was not computed.
    gradient
        The slopes of the loss by the parameters.
    acquired
        For each phantom what was acquired: an `Acquisition`, or those of several sequences by name.
    """

    iteration: int
    values: Values
    loss: float
    terms: dict[str, float]
    verified_loss: float
    gradient: Values
    acquired: tuple[Acquired, ...] = field(repr=False)

"""Simulation of MR signals by phase distribution graphs, and the judges of it."""

from pulseq_zero.simulation.graph import Thresholds
from pulseq_zero.simulation.isochromats import (
    Isochromats,
    converged_isochromats,
    course_of,
    isochromat_signal,
)
from pulseq_zero.simulation.simulator import (
    Convergence,
    ErrorEstimate,
    Simulation,
    Simulator,
    converged_accuracy,
    simulate,
)

__all__ = [
    "Convergence",
    "ErrorEstimate",
    "Isochromats",
    "Simulation",
    "Simulator",
    "Thresholds",
    "converged_accuracy",
    "converged_isochromats",
    "course_of",
    "isochromat_signal",
    "simulate",
]

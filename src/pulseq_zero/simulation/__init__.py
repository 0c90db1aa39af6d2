"""Simulation of MR signals by phase distribution graphs, and the judges of it."""

from typing import TYPE_CHECKING

from pulseq_zero.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.simulation.graph import Thresholds as Thresholds
    from pulseq_zero.simulation.isochromats import Isochromats as Isochromats
    from pulseq_zero.simulation.isochromats import converged_isochromats as converged_isochromats
    from pulseq_zero.simulation.isochromats import course_of as course_of
    from pulseq_zero.simulation.isochromats import isochromat_signal as isochromat_signal
    from pulseq_zero.simulation.simulator import Convergence as Convergence
    from pulseq_zero.simulation.simulator import ErrorEstimate as ErrorEstimate
    from pulseq_zero.simulation.simulator import Simulation as Simulation
    from pulseq_zero.simulation.simulator import Simulator as Simulator
    from pulseq_zero.simulation.simulator import converged_accuracy as converged_accuracy
    from pulseq_zero.simulation.simulator import simulate as simulate

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

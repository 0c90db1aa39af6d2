"""Simulation of MR signals by phase distribution graphs.

`pulseq_zero.simulation.simulator` chooses between this package's engine (`pdg`, propagated by torch
or by `compiled` loops) and MRzeroCore's (`mrzero`). Imports
`pulseq_zero.conversion.repetitions` and errors; it knows neither PyPulseq nor tracing.
"""

from typing import TYPE_CHECKING

from pulseq_zero.importing.lazy import lazy_names

if TYPE_CHECKING:
    from pulseq_zero.simulation.convergence import Convergence as Convergence
    from pulseq_zero.simulation.convergence import converged_accuracy as converged_accuracy
    from pulseq_zero.simulation.pdg.graph import Thresholds as Thresholds
    from pulseq_zero.simulation.result import ErrorEstimate as ErrorEstimate
    from pulseq_zero.simulation.result import Simulation as Simulation
    from pulseq_zero.simulation.simulator import Simulator as Simulator
    from pulseq_zero.simulation.simulator import simulate as simulate

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

"""PyPulseq sequence scripts in a differentiable optimization loop.

The names below are this library's. Every other name is PyPulseq's own, so that a script may
say ``import pulseq_zero as pp`` where it said ``import pypulseq as pp``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not on demand: the context bears the name of the package that it comes from, which takes the
# name on its first import.
from pulseq_zero.tracing import tracing

if TYPE_CHECKING:
    from pulseq_zero.acquisition import Acquisition
    from pulseq_zero.conversion import SequenceModel, convert
    from pulseq_zero.errors import PulseqZeroError
    from pulseq_zero.imaging import ImagingModel
    from pulseq_zero.optimization.limits import relative_sar
    from pulseq_zero.optimization.optimize import OptimizationResult, optimize
    from pulseq_zero.optimization.parameters import Parameter
    from pulseq_zero.phantom import Phantom, build_phantom
    from pulseq_zero.reconstruction import reconstruct
    from pulseq_zero.repetitions import Repetitions, repetitions_from_mr0
    from pulseq_zero.simulation import Simulation, Simulator, simulate
    from pulseq_zero.tracing import check_gradients, trace

_HOMES = {
    "Acquisition": "acquisition",
    "ImagingModel": "imaging",
    "OptimizationResult": "optimization.run",
    "Parameter": "optimization.parameters",
    "Phantom": "phantom",
    "PulseqZeroError": "errors",
    "Repetitions": "repetitions",
    "SequenceModel": "conversion",
    "Simulation": "simulation",
    "Simulator": "simulation",
    "build_phantom": "phantom",
    "check_gradients": "tracing",
    "convert": "conversion",
    "optimize": "optimization.optimize",
    "reconstruct": "reconstruction",
    "relative_sar": "optimization.limits",
    "repetitions_from_mr0": "repetitions",
    "simulate": "simulation",
    "trace": "tracing",
}

__all__ = [
    "Acquisition",
    "ImagingModel",
    "OptimizationResult",
    "Parameter",
    "Phantom",
    "PulseqZeroError",
    "Repetitions",
    "SequenceModel",
    "Simulation",
    "Simulator",
    "build_phantom",
    "check_gradients",
    "convert",
    "optimize",
    "reconstruct",
    "relative_sar",
    "repetitions_from_mr0",
    "simulate",
    "trace",
    "tracing",
]


def __getattr__(name: str) -> Any:
    # On demand: PyPulseq, torch and MRzeroCore take seconds to import, and a rule of the
    # pipeline shall depend on the modules that it uses, not on all of them.
    if name in _HOMES:
        return getattr(import_module(f"pulseq_zero.{_HOMES[name]}"), name)
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pypulseq"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(import_module("pypulseq"))})


def _show_in_notebooks() -> None:
    """Let results show themselves as tables and figures, if this is IPython or a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        import_module("pulseq_zero.cli.notebook").load_ipython_extension(shell)


_show_in_notebooks()

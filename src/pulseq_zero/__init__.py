"""PyPulseq sequence scripts in a differentiable optimization loop.

The names below are this library's. Every other name is PyPulseq's own, so that a script may
say ``import pulseq_zero as pp`` where it said ``import pypulseq as pp``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulseq_zero.importing.lazy import lazy_names
from pulseq_zero.importing.loops import find_folder

if TYPE_CHECKING:
    from pulseq_zero.conversion import SequenceModel as SequenceModel
    from pulseq_zero.conversion import convert as convert
    from pulseq_zero.conversion.repetitions import Repetitions as Repetitions
    from pulseq_zero.conversion.repetitions import repetitions_from_mr0 as repetitions_from_mr0
    from pulseq_zero.errors import PulseqZeroError as PulseqZeroError
    from pulseq_zero.files.scripts import script as script
    from pulseq_zero.imaging.acquisition import Acquisition as Acquisition
    from pulseq_zero.imaging.model import ImagingModel as ImagingModel
    from pulseq_zero.imaging.precision import crlb as crlb
    from pulseq_zero.imaging.reconstruction import reconstruct as reconstruct
    from pulseq_zero.imaging.simulating import simulate as simulate
    from pulseq_zero.optimization.optimize import optimize as optimize
    from pulseq_zero.optimization.parameters import Parameter as Parameter
    from pulseq_zero.optimization.penalties import relative_sar as relative_sar
    from pulseq_zero.optimization.run import OptimizationResult as OptimizationResult
    from pulseq_zero.phantom import Phantom as Phantom
    from pulseq_zero.phantom import build_phantom as build_phantom
    from pulseq_zero.simulation import Simulation as Simulation
    from pulseq_zero.simulation import Simulator as Simulator
    from pulseq_zero.tracing import check_gradients as check_gradients
    from pulseq_zero.tracing import tracing as tracing
    from pulseq_zero.tracing.trace import trace as trace

    __version__: str

_own, _, __all__ = lazy_names(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return _own(name)
    if name == "__version__":
        return import_module("importlib.metadata").version("pulseq-zero")
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pypulseq"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *dir(import_module("pypulseq"))})


def _show_in_notebooks() -> None:
    """Let results show themselves as tables and figures, if this is IPython or a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        import_module("pulseq_zero.cli.notebook").load_ipython_extension(shell)


def _compute_alone() -> None:
    """Let a forked process compute with one thread: it would wait for its parent's for ever."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


find_folder()
_show_in_notebooks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)

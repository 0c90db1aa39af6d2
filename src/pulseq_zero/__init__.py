"""PyPulseq sequence scripts in a differentiable optimization loop.

The names below are this library's. Every other name is PyPulseq's own, so that a script may
say ``import pulseq_zero as pp`` where it said ``import pypulseq as pp``.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulseq_zero.lazy import lazy_names

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


def _keep_compiled() -> None:
    """Give numba a folder for what it has compiled, where it can write none: it fails otherwise."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    given = os.environ.get("NUMBA_CACHE_DIR")
    # Of a user who has no home, ~ stays
    places = [place for place in (home, given) if place and not place.startswith("~")]
    if any(map(_can_be_written, [Path(__file__).parent, *map(Path, places)])):
        return
    # Nobody else's: what numba finds there it runs
    folder = tempfile.TemporaryDirectory(prefix="pulseq-zero-")
    atexit.register(folder.cleanup)
    os.environ["NUMBA_CACHE_DIR"] = folder.name
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = folder.name
    warnings.warn(
        "there is no folder to keep compiled code in, so that every process compiles for a minute; "
        "set NUMBA_CACHE_DIR to one that can be written",
        stacklevel=2,
    )


def _can_be_written(folder: Path) -> bool:
    # Path.exists would fail below a folder of somebody else's
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))  # noqa: PTH110
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


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


_keep_compiled()
_show_in_notebooks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)

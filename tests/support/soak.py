"""An optimization that is done many times, also by other processes, and what it leaves."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil

from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.tracing.tape.tape import Tape
from support.toy import inversion_recovery, one_voxel, signal_loss


def optimized(number: int) -> float:
    """Optimize a flip angle [rad], with a checkpoint, from a start of its own."""
    with tempfile.TemporaryDirectory() as folder:
        result = optimize(
            inversion_recovery,
            signal_loss,
            {"TI": 0.4 + 1e-3 * (number % 100), "flip": 1.0},
            one_voxel(),
            iterations=2,
            progress=False,
            checkpoint=Path(folder) / "state",
            checkpoint_seconds=0.0,
        )
    return float(result.best["flip"])


class Left(NamedTuple):
    """What this process holds, and has left where temporary files are."""

    tapes: int
    open_files: int
    files: frozenset[Path]


def left() -> Left:
    """Look for it."""
    gc.collect()
    return Left(
        sum(type(found) is Tape for found in gc.get_objects()),
        len(psutil.Process().open_files()),
        frozenset(Path(tempfile.gettempdir()).iterdir()),
    )


def memory() -> float:
    """Memory that this process has in use [MiB]."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20

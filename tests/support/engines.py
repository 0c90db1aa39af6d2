"""The simulations that are held against themselves, and how near their signals have to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import MRzeroCore as mr0
import numpy as np
import torch
from hypothesis import settings
from numpy.typing import NDArray

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.judge import course_of, isochromat_signal
from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.measures import array, distance

ACCURACY = 1e-4
# Each of two signals may err by three times the accuracy.
ALLOWED = 6 * ACCURACY
# Spins in a voxel, and how far signals are apart if they are placed otherwise, relative to that of
# all magnetisation; in few voxels
SPINS, FEW_VOXELS, SCATTER = 1024, 6, 0.01

# The same examples each time
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, database=None)
FEW = settings(EXAMPLES, max_examples=6)


def compiled(sequence: Repetitions, data: mr0.SimData) -> NDArray[Any]:
    """Simulate by phase distribution graphs, in float32 by compiled loops."""
    return array(Simulator(data, ACCURACY)(sequence).signal)


def torched(sequence: Repetitions, data: mr0.SimData) -> NDArray[Any]:
    """Simulate by phase distribution graphs, in float64 by torch."""
    simulator = Simulator(data, ACCURACY, dtype=torch.float64, backend=TorchBackend())
    return array(simulator(sequence).signal)


def played(sequence: Repetitions, data: mr0.SimData) -> NDArray[Any]:
    """Simulate as `compiled` does, each pulse a hard one that takes its time.

    None is cut where relaxation matters: that depends on the phantom as a whole.
    """
    simulator = Simulator(data, ACCURACY, pulse_relaxation=1.0)
    return array(simulator(with_hard_pulses(sequence)).signal)


def with_hard_pulses(sequence: Repetitions, duration: float = 2e-4, steps: int = 4) -> Repetitions:
    """Play each pulse as a constant field [Hz] for a duration [s]."""
    count = len(sequence.pulse_angle)
    field = sequence.pulse_angle.double() / (2 * math.pi * duration)
    return replace(
        sequence,
        played=PlayedPulses(
            signal=(field + 0j).repeat_interleave(steps),
            time=torch.full((count * steps,), duration / steps, dtype=torch.float64),
            moment=torch.zeros(count * steps, 3, dtype=torch.float64),
            centre=torch.full((count,), duration / 2, dtype=torch.float64),
            step_count=(steps,) * count,
            scaled=(True,) * count,
            pulse=tuple(range(count)),
            phase=sequence.pulse_phase.double(),
        ),
    )


def judged(sequence: Repetitions, data: mr0.SimData) -> NDArray[Any]:
    """Simulate by isochromats, always the same."""
    return array(isochromat_signal(course_of(sequence), data, SPINS))


Engine = Callable[[Repetitions, mr0.SimData], NDArray[Any]]
GRAPHS: dict[str, Engine] = {"compiled": compiled, "torch": torched, "played": played}
ENGINES: dict[str, Engine] = {**GRAPHS, "judge": judged}


def assert_same(one: Any, other: Any, data: mr0.SimData, allowed: float = ALLOWED) -> None:
    """Compare two signals, relative to the larger one, or to the rounding of a full signal."""
    size = max(float(np.linalg.norm(array(one))), float(np.linalg.norm(array(other))))
    rounding = 2e-6 * _everything(one, data)
    error = distance(one, other)
    assert error <= allowed * size + rounding, f"{error / max(size, 1e-30):.2e} apart"


def assert_same_but_for_spins(one: Any, other: Any, data: mr0.SimData) -> None:
    """Compare two signals of isochromats that are placed otherwise."""
    error = distance(one, other) / _everything(one, data)
    assert error <= SCATTER, f"{error:.2e} apart"


def same_as(engine: str) -> Callable[[Any, Any, mr0.SimData], None]:
    """Return how signals of two sequences are compared.

    The judge places spins along the axes in which a sequence leaves them dephased.
    """
    return assert_same_but_for_spins if engine == "judge" else assert_same


def _everything(signal: Any, data: mr0.SimData) -> float:
    """Return the norm of a signal of all magnetisation without dephasing."""
    return float(data.PD.sum()) * math.sqrt(array(signal).size)

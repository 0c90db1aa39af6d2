"""The stages of an optimization, and the levels of accuracy of a simulation, by their names.

A stage is a point of an optimization whose sequence is simulated and exported: ``start`` (the start
values), ``optimized`` (the best iteration), and ``iteration_N`` for iterations that are asked for.
Of several sequences, each has its own: ``start/NAME``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pulseq_zero.judge.seq import Physics

START, OPTIMIZED = "start", "optimized"
# The stages that every result has, and that the judge looks at
ENDS = (START, OPTIMIZED)
_ITERATION = "iteration_"
_SEQUENCE = "/[A-Za-z_][A-Za-z0-9_]*"
# Regular expressions: stages that are not made with the optimization, and all
OTHER_STAGES = rf"{START}(?:{_SEQUENCE})?|{_ITERATION}[0-9]+(?:{_SEQUENCE})?|{OPTIMIZED}{_SEQUENCE}"
PATTERN = f"{OPTIMIZED}|{OTHER_STAGES}"

# As the optimization sees an image, and as it is reported
OPTIMIZATION, TIGHT = "optimization", "tight"

# The judge's pulses: each one rotation at its centre, or taking their time
INSTANTANEOUS: Final = "instantaneous"
FULL: Final = "full"


def judged_by(pulses: str) -> tuple[Physics, ...]:
    """Name the physics that a result is judged by: as it was optimized first, in full last."""
    return (FULL,) if pulses == "played" else (INSTANTANEOUS, FULL)


def at_iteration(iteration: int) -> str:
    """Name the stage of an iteration."""
    return f"{_ITERATION}{iteration}"


def of_sequence(stage: str, sequence: str) -> str:
    """Name the stage of one of several sequences; the empty name is that of the only one."""
    return f"{stage}/{sequence}" if sequence else stage


def point_of(stage: str) -> str:
    """Name the point of the optimization of a stage, whichever its sequence."""
    return stage.partition("/")[0]


def sequence_of(stage: str) -> str:
    """Name the sequence of a stage; empty if there is one only."""
    return stage.partition("/")[2]


def reported(iterations: Iterable[int], sequences: Iterable[str]) -> list[str]:
    """List the stages that are reported, given the iterations that are asked for."""
    points = [*ENDS, *map(at_iteration, iterations)]
    return [of_sequence(point, sequence) for sequence in sequences for point in points]


def iteration_of(stage: str, best: int) -> int:
    """Return the iteration of a stage, given the best one."""
    point = point_of(stage)
    if point in ENDS:
        return 0 if point == START else best
    return int(point.removeprefix(_ITERATION))

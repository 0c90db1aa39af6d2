"""The stages of an optimization, and the levels of accuracy of a simulation, by their names.

A stage is a point of an optimization whose sequence is simulated and exported: ``start`` (the start
values), ``optimized`` (the best iteration), and ``iteration_N`` for iterations that are asked for.
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
# Regular expressions: stages that are not made with the optimization, and all
OTHER_STAGES = f"{START}|{_ITERATION}[0-9]+"
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


def reported(iterations: Iterable[int]) -> list[str]:
    """List the stages that are reported, given the iterations that are asked for."""
    return [*ENDS, *map(at_iteration, iterations)]


def iteration_of(stage: str, best: int) -> int:
    """Return the iteration of a stage, given the best one."""
    if stage in ENDS:
        return 0 if stage == START else best
    return int(stage.removeprefix(_ITERATION))

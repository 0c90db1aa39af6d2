"""The errors of the library: one sentence that names the culprit and the mend.

And the checks of what users give that all layers share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from reprlib import Repr
from typing import Any

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class PulseqZeroError(Exception):
    """Base of every error that the library raises on purpose."""


class ConfigError(PulseqZeroError, ValueError):
    """A config or experiment file says something that cannot be meant."""


class PhantomError(PulseqZeroError, ValueError):
    """Phantom data are missing, misshapen or unphysical."""


class SequenceError(PulseqZeroError, ValueError):
    """A sequence function or a sequence cannot be used as it is."""


class UnsupportedFileError(SequenceError):
    """A ``.seq`` file holds what PyPulseq does not read."""


class TracingError(PulseqZeroError, RuntimeError):
    """A traced number met code that it cannot follow."""


class GradientLostError(TracingError):
    """A value lost its gradient on the way, or a parameter reaches nothing."""


class SimulationError(PulseqZeroError, ValueError):
    """The simulation cannot be run, or cannot be differentiated, as asked."""


class OptimizationError(PulseqZeroError, RuntimeError):
    """The optimization cannot start or cannot go on."""


class NotFiniteError(OptimizationError):
    """The loss or its gradient is NaN or infinite."""


class ValidationError(PulseqZeroError, RuntimeError):
    """A result does not stand."""


class StoreError(PulseqZeroError, OSError):
    """A file cannot be read or written."""


def shown(value: Any) -> str:
    """Show a value in a sentence: in one line that is not long."""
    return " ".join(_SHORT.repr(value).split())


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite real number."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        # An integer that no float holds
        return False


def check_number(name: str, value: Any, error: type[PulseqZeroError]) -> None:
    """Refuse what is no finite real number, by an error of that kind."""
    if not is_number(value):
        raise error(f"{name} is {shown(value)}, but must be a number")


def check_mapping(name: str, value: Any, error: type[PulseqZeroError]) -> None:
    """Refuse what is no mapping of names, by an error of that kind."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise error(f"{name} is {shown(value)}, but must be a mapping of names to values")


def check_function(name: str, value: Any, error: type[PulseqZeroError]) -> None:
    """Refuse what is neither None nor a function, by an error of that kind."""
    if value is not None and not callable(value):
        raise error(f"{name} is {shown(value)}, but must be a function")


def check_grid(matrix: Any, fov: Any, error: type[PulseqZeroError]) -> None:
    """Refuse pixels and field of view of an image that are none, by an error of that kind."""
    if matrix is not None and not (
        _are_lengths(matrix) and all(isinstance(n, Integral) for n in matrix)
    ):
        raise error(
            f"matrix is {shown(matrix)}, but must be numbers of pixels along x and y, and z of a "
            "volume"
        )
    if fov is not None and not _are_lengths(fov):
        raise error(
            f"fov is {shown(fov)}, but must be lengths in m along x and y, and z of a volume"
        )


def _are_lengths(value: Any) -> bool:
    try:
        x, y, *z = value
    except (TypeError, ValueError):
        return False
    return len(z) <= 1 and all(is_number(each) and each > 0 for each in (x, y, *z))

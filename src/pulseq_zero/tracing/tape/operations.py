"""The operations that a tape may hold: how to compute them and their derivatives.

Derivatives are functions of the operands and the result, one for each operand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Elementwise:
    """An operation that makes one number of one or two numbers.

    Attributes
    ----------
    compute
        The result of the operands.
    derivatives
        For each operand, the derivative as function of the operands and the result.
    """

    compute: Callable[..., Any]
    derivatives: tuple[Callable[..., Any], ...]


def _one(a: Array, y: Array) -> Array:
    return np.ones_like(y)


def _nonzero(a: Array) -> Array:
    return np.where(a == 0, 1.0, a)


def _sinc_derivative(a: Array, y: Array) -> Array:
    return np.where(a == 0, 0.0, (np.cos(np.pi * a) - y) / _nonzero(a))


def _slope_of_sqrt(a: Array, y: Array) -> Array:
    # PyPulseq takes the root of |area|, also for the line in the middle of k-space: there the
    # slope is that of a symmetric function, 0, as infinity would make NaN of all gradients.
    return np.where(y == 0, 0.0, 0.5 / np.where(y == 0, 1.0, y))


def _slope_of_cbrt(a: Array, y: Array) -> Array:
    return np.where(y == 0, 0.0, 1 / (3 * np.where(y == 0, 1.0, y * y)))


def _log_of_base(a: Array, b: Array, y: Array) -> Array:
    return y * np.log(np.where(a > 0, a, 1.0))


def _power_of_base(a: Array, b: Array, y: Array) -> Array:
    # As for the root: an exponent below 1 has an infinite slope at 0.
    is_flat = (b == 0) | ((a == 0) & (b > 0) & (b < 1))
    return np.where(is_flat, 0.0, b * np.power(a, np.where(is_flat, 1.0, b - 1)))


# Numbers that are rounded follow their operand or nothing, as the tape says.
ROUNDING = frozenset({"round", "ceil", "floor", "trunc"})

ELEMENTWISE: Mapping[str, Elementwise] = {
    "negative": Elementwise(np.negative, (lambda a, y: -np.ones_like(y),)),
    "absolute": Elementwise(np.absolute, (lambda a, y: np.sign(a),)),
    "sqrt": Elementwise(np.sqrt, (_slope_of_sqrt,)),
    "cbrt": Elementwise(np.cbrt, (_slope_of_cbrt,)),
    "square": Elementwise(np.square, (lambda a, y: 2 * a,)),
    "reciprocal": Elementwise(np.reciprocal, (lambda a, y: -y * y,)),
    "exp": Elementwise(np.exp, (lambda a, y: y,)),
    "exp2": Elementwise(np.exp2, (lambda a, y: y * np.log(2),)),
    "expm1": Elementwise(np.expm1, (lambda a, y: y + 1,)),
    "log": Elementwise(np.log, (lambda a, y: 1 / a,)),
    "log2": Elementwise(np.log2, (lambda a, y: 1 / (a * np.log(2)),)),
    "log10": Elementwise(np.log10, (lambda a, y: 1 / (a * np.log(10)),)),
    "log1p": Elementwise(np.log1p, (lambda a, y: 1 / (1 + a),)),
    "sin": Elementwise(np.sin, (lambda a, y: np.cos(a),)),
    "cos": Elementwise(np.cos, (lambda a, y: -np.sin(a),)),
    "tan": Elementwise(np.tan, (lambda a, y: 1 + y * y,)),
    "arcsin": Elementwise(np.arcsin, (lambda a, y: 1 / np.sqrt(1 - a * a),)),
    "arccos": Elementwise(np.arccos, (lambda a, y: -1 / np.sqrt(1 - a * a),)),
    "arctan": Elementwise(np.arctan, (lambda a, y: 1 / (1 + a * a),)),
    "sinh": Elementwise(np.sinh, (lambda a, y: np.cosh(a),)),
    "cosh": Elementwise(np.cosh, (lambda a, y: np.sinh(a),)),
    "tanh": Elementwise(np.tanh, (lambda a, y: 1 - y * y,)),
    "arcsinh": Elementwise(np.arcsinh, (lambda a, y: 1 / np.sqrt(1 + a * a),)),
    "arccosh": Elementwise(np.arccosh, (lambda a, y: 1 / np.sqrt(a * a - 1),)),
    "arctanh": Elementwise(np.arctanh, (lambda a, y: 1 / (1 - a * a),)),
    "deg2rad": Elementwise(np.deg2rad, (lambda a, y: np.full_like(y, np.pi / 180),)),
    "rad2deg": Elementwise(np.rad2deg, (lambda a, y: np.full_like(y, 180 / np.pi),)),
    "sinc": Elementwise(np.sinc, (_sinc_derivative,)),
    "round": Elementwise(np.round, (_one,)),
    "ceil": Elementwise(np.ceil, (_one,)),
    "floor": Elementwise(np.floor, (_one,)),
    "trunc": Elementwise(np.trunc, (_one,)),
    "add": Elementwise(np.add, (lambda a, b, y: np.ones_like(y), lambda a, b, y: np.ones_like(y))),
    "subtract": Elementwise(
        np.subtract, (lambda a, b, y: np.ones_like(y), lambda a, b, y: -np.ones_like(y))
    ),
    "multiply": Elementwise(np.multiply, (lambda a, b, y: b, lambda a, b, y: a)),
    "divide": Elementwise(np.divide, (lambda a, b, y: 1 / b, lambda a, b, y: -y / b)),
    "power": Elementwise(np.power, (_power_of_base, _log_of_base)),
    "remainder": Elementwise(
        np.remainder, (lambda a, b, y: np.ones_like(y), lambda a, b, y: -np.floor(a / b))
    ),
    "fmod": Elementwise(
        np.fmod, (lambda a, b, y: np.ones_like(y), lambda a, b, y: -np.trunc(a / b))
    ),
    "arctan2": Elementwise(
        np.arctan2,
        (
            lambda a, b, y: b / _nonzero(a * a + b * b),
            lambda a, b, y: -a / _nonzero(a * a + b * b),
        ),
    ),
    "hypot": Elementwise(
        np.hypot, (lambda a, b, y: a / _nonzero(y), lambda a, b, y: b / _nonzero(y))
    ),
    "maximum": Elementwise(
        np.maximum, (lambda a, b, y: (a >= b) * 1.0, lambda a, b, y: (a < b) * 1.0)
    ),
    "minimum": Elementwise(
        np.minimum, (lambda a, b, y: (a <= b) * 1.0, lambda a, b, y: (a > b) * 1.0)
    ),
}


@dataclass(frozen=True)
class Reduction:
    """An operation on rows of equal length.

    Attributes
    ----------
    compute
        (rows, length) -> (rows,), or (rows, length) for running reductions.
    pull_back
        Gradients of the rows, of the rows, the result and the result's gradient.
    """

    compute: Callable[[Array], Array]
    pull_back: Callable[[Array, Array, Array], Array]


def _to_first_where(selected: Callable[[Array], Any]) -> Callable[[Array, Array, Array], Array]:
    def pull_back(rows: Array, result: Array, gradient: Array) -> Array:
        out = np.zeros_like(rows)
        out[np.arange(len(rows)), selected(rows)] = gradient
        return out

    return pull_back


REDUCTIONS: Mapping[str, Reduction] = {
    "sum": Reduction(
        lambda rows: rows.sum(axis=1),
        lambda rows, y, g: np.broadcast_to(g[:, None], rows.shape),
    ),
    "cumsum": Reduction(
        lambda rows: np.cumsum(rows, axis=1),
        lambda rows, y, g: np.cumsum(g[:, ::-1], axis=1)[:, ::-1],
    ),
    "max": Reduction(
        lambda rows: rows.max(axis=1), _to_first_where(lambda rows: rows.argmax(axis=1))
    ),
    "min": Reduction(
        lambda rows: rows.min(axis=1), _to_first_where(lambda rows: rows.argmin(axis=1))
    ),
}


class Opaque(Protocol):
    """An operation that is done as a whole, neither grouped nor looked into."""

    def compute(self, *operands: Array) -> Array:
        """Compute the results, flat, from the flat operands."""

    def pull_back(self, operands: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
        """Compute the operands' gradients from the results'."""


COMPARISONS: Mapping[str, Callable[..., Any]] = {
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
}

# The comparison that comes out alike when both sides change their sign.
MIRRORED: Mapping[str, str] = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
    "equal": "equal",
    "not_equal": "not_equal",
}

"""The parameters of an optimization: start values, bounds and learning rates."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import OptimizationError, is_number, shown


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sequence function, or of the loss alone.

    Attributes
    ----------
    start
        Start value or values, in the unit of the sequence function (SI).
    lower, upper
        Bounds, the same for all elements, or for each element its own.
    learning_rate
        Step size of Adam in the parameter's unit; for L-BFGS, the parameter's scale. None
        means the optimizer's default.
    in_sequence
        Whether it is an argument of the sequence function; otherwise only the loss gets it.

    Raises
    ------
    OptimizationError
        If a value is not finite, or outside its bounds.
    """

    start: Tensor
    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf
    learning_rate: float | None = None
    in_sequence: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _numbers(self.start, "start values must be numbers"))
        if self.start.numel() == 0:
            raise OptimizationError("there must be at least one start value")
        if not bool(self.start.isfinite().all()):
            raise OptimizationError("start values must be finite numbers")
        for name in ("lower", "upper"):
            object.__setattr__(self, name, self._bound(name))
        if self.learning_rate is not None and not is_number(self.learning_rate):
            raise OptimizationError(
                f"learning_rate must be a number, not {shown(self.learning_rate)}"
            )
        if not isinstance(self.in_sequence, bool):
            raise OptimizationError(
                f"in_sequence must be True or False, not {shown(self.in_sequence)}"
            )
        if not bool(torch.as_tensor(self.lower < self.upper).all()):
            raise OptimizationError(
                f"the lower bound {_shown(self.lower)} must lie below the upper bound "
                f"{_shown(self.upper)}"
            )
        if bool((self.start < self.lower).any() or (self.start > self.upper).any()):
            raise OptimizationError(
                f"a start value lies outside the bounds from {_shown(self.lower)} to "
                f"{_shown(self.upper)}"
            )
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise OptimizationError(f"the learning rate {self.learning_rate} is not positive")

    def within(self, values: Tensor) -> Tensor:
        """Return the nearest values within the bounds."""
        if isinstance(self.lower, Tensor) or isinstance(self.upper, Tensor):
            lower, upper = (torch.as_tensor(x, dtype=values.dtype) for x in self.bounds)
            return values.clamp(lower, upper)
        return values.clamp(self.lower, self.upper)

    @property
    def bounds(self) -> tuple[float | Tensor, float | Tensor]:
        """The lower and the upper bound."""
        return self.lower, self.upper

    def _bound(self, name: str) -> float | Tensor:
        value: Any = getattr(self, name)
        if isinstance(value, float):
            return value
        bound = _numbers(value, f"{name} must be a number")
        if bound.ndim == 0:
            return float(bound)
        if bound.shape != self.start.shape:
            raise OptimizationError(
                f"{name} has shape {tuple(bound.shape)}, but must be a number or have the shape of "
                f"the start values, {tuple(self.start.shape)}"
            )
        return bound


def plain(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """Parameters as plain Python and NumPy have them, for the unchanged script."""
    return {
        name: value.item() if value.ndim == 0 else value.detach().cpu().numpy().copy()
        for name, value in values.items()
    }


def as_parameters(given: Mapping[str, Any]) -> dict[str, Parameter]:
    """Make parameters of what a user gives: numbers, arrays, tensors or ``Parameter``.

    Raises
    ------
    OptimizationError
        If they are no mapping, if there is none, or if one cannot be used; names it.
    """
    if not isinstance(given, Mapping):
        raise OptimizationError(
            f"parameters must be a mapping of names to start values, not {type(given).__name__}"
        )
    if not given:
        raise OptimizationError("no parameters to optimize; name at least one")
    parameters = {}
    for name, value in given.items():
        try:
            parameters[name] = value if isinstance(value, Parameter) else Parameter(value)
        except OptimizationError as error:
            raise OptimizationError(f"parameter {name!r}: {error}") from error
    return parameters


class Bounded:
    r"""Change of variables between a bounded parameter and a free variable u.

    With both bounds, :math:`x = l + (h - l) / (1 + e^{-u})`; with one, the bound plus or
    minus :math:`\log(1 + e^{u})`; with none, :math:`x = s u` with the learning rate s.

    Parameters
    ----------
    parameter
        The parameter with its bounds.
    """

    # A start value on its bound has no finite u; this fraction of the range it is moved in.
    MARGIN = 1e-6

    def __init__(self, parameter: Parameter) -> None:
        lower, upper = (
            torch.as_tensor(bound, dtype=torch.float64).expand(parameter.start.shape)
            for bound in parameter.bounds
        )
        self.scale = parameter.learning_rate or 1.0
        below, above = lower.isfinite(), upper.isfinite()
        # For each kind of bounds, which elements have them, and the bounds of these
        self._kinds = [
            (chosen, lower[chosen], upper[chosen])
            for chosen in (below & above, below & ~above, above & ~below, ~below & ~above)
        ]

    def value(self, free: Tensor) -> Tensor:
        """Parameter of the free variable."""
        softplus = torch.nn.functional.softplus
        return self._by_kind(
            free,
            lambda u, lower, upper: lower + (upper - lower) * torch.sigmoid(u),
            lambda u, lower, upper: lower + self.scale * softplus(u),
            lambda u, lower, upper: upper - self.scale * softplus(u),
            lambda u, lower, upper: self.scale * u,
        )

    def free(self, value: Tensor) -> Tensor:
        """Free variable of the parameter."""
        margin = self.MARGIN
        return self._by_kind(
            value,
            lambda x, lower, upper: torch.logit(
                ((x - lower) / (upper - lower)).clamp(margin, 1 - margin)
            ),
            lambda x, lower, upper: _inverse_softplus((x - lower) / self.scale),
            lambda x, lower, upper: _inverse_softplus((upper - x) / self.scale),
            lambda x, lower, upper: x / self.scale,
        )

    def _by_kind(
        self, values: Tensor, *functions: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        result = torch.zeros_like(values)
        for (chosen, lower, upper), function in zip(self._kinds, functions, strict=True):
            if bool(chosen.any()):
                part = function(values[chosen], lower, upper)
                result = result.masked_scatter(chosen, part)
        return result


def _inverse_softplus(value: Tensor) -> Tensor:
    positive = value.clamp_min(Bounded.MARGIN)
    return positive + torch.log(-torch.expm1(-positive))


def _numbers(given: Any, wanted: str) -> Tensor:
    """Copy real numbers, as a tensor may change later."""
    try:
        # What is complex would lose its imaginary part without a word
        numbers = torch.as_tensor(given, dtype=torch.complex128).detach()
        is_real = not bool(numbers.imag.any())
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise OptimizationError(f"{wanted}, not {reprlib.repr(given)}") from error
    if not is_real:
        raise OptimizationError(f"{wanted}, not {reprlib.repr(given)}")
    return numbers.real.clone()


def _shown(bound: float | Tensor) -> str:
    return f"{bound}" if isinstance(bound, float | int) else f"{bound.tolist()}"

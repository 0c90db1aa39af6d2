"""The parameters of an optimization: start values, bounds and learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import OptimizationError


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sequence function.

    Attributes
    ----------
    start
        Start value or values, in the unit of the sequence function (SI).
    lower, upper
        Bounds, the same for all elements.
    learning_rate
        Step size of Adam in the parameter's unit; for L-BFGS, the parameter's scale. None
        means the optimizer's default.

    Raises
    ------
    OptimizationError
        If a value is not finite, or outside its bounds.
    """

    start: Tensor
    lower: float = -math.inf
    upper: float = math.inf
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        try:
            start = torch.as_tensor(self.start, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise OptimizationError(f"start values must be numbers, not {self.start!r}") from error
        object.__setattr__(self, "start", start)
        if not bool(self.start.isfinite().all()):
            raise OptimizationError("start values must be finite numbers")
        for name in ("lower", "upper", "learning_rate"):
            value = getattr(self, name)
            if not isinstance(value, int | float | None):
                raise OptimizationError(f"{name} must be a number, not {value!r}")
        if not self.lower < self.upper:
            raise OptimizationError(
                f"the lower bound {self.lower} must lie below the upper bound {self.upper}"
            )
        if bool((self.start < self.lower).any() or (self.start > self.upper).any()):
            raise OptimizationError(
                f"a start value lies outside the bounds from {self.lower} to {self.upper}"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise OptimizationError(f"the learning rate {self.learning_rate} is not positive")


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
        self.lower, self.upper = parameter.lower, parameter.upper
        self.scale = parameter.learning_rate or 1.0

    def value(self, free: Tensor) -> Tensor:
        """Parameter of the free variable."""
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            return self.lower + (self.upper - self.lower) * torch.sigmoid(free)
        if math.isfinite(self.lower):
            return self.lower + self.scale * torch.nn.functional.softplus(free)
        if math.isfinite(self.upper):
            return self.upper - self.scale * torch.nn.functional.softplus(free)
        return self.scale * free

    def free(self, value: Tensor) -> Tensor:
        """Free variable of the parameter."""
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            fraction = (value - self.lower) / (self.upper - self.lower)
            return torch.logit(fraction.clamp(self.MARGIN, 1 - self.MARGIN))
        if math.isfinite(self.lower):
            return _inverse_softplus((value - self.lower) / self.scale)
        if math.isfinite(self.upper):
            return _inverse_softplus((self.upper - value) / self.scale)
        return value / self.scale


def _inverse_softplus(value: Tensor) -> Tensor:
    positive = value.clamp_min(Bounded.MARGIN)
    return positive + torch.log(-torch.expm1(-positive))

"""Check the gradients of a sequence function against finite differences of plain PyPulseq."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.tracing.numpy.arrays import as_array, raw
from pulseq_zero.tracing.pypulseq.sequence import TracedSequence
from pulseq_zero.tracing.tape.program import GuardBroken, Program
from pulseq_zero.tracing.trace import trace

# Changes below this share of a value, and derivatives below this share of the largest, are
# the rounding of float64.
_NOISE = 1e-13


@dataclass(frozen=True)
class GradientCheck:
    """The derivative of one number or array of an event, in a random direction.

    Attributes
    ----------
    place
        Which block, event and attribute, or which part of the function's result.
    parameter
        Name of the parameter.
    traced, difference
        The derivative from the tape, and from plain PyPulseq by a central difference; of a
        random combination, for an array.
    error
        How far they are apart, relative to the larger; 0 if both vanish within rounding.
    """

    place: str
    parameter: str
    traced: float
    difference: float
    error: float


@dataclass(frozen=True)
class GradientReport:
    """All checks of a function.

    Attributes
    ----------
    checks
        One for each parameter and attribute of an event that depends on parameters.
    decisions
        Lines whose comparison comes out differently within the step of the differences,
        which makes these useless; by parameter.
    """

    checks: tuple[GradientCheck, ...]
    decisions: Mapping[str, str]

    @property
    def worst(self) -> float:
        """The largest error."""
        return max((check.error for check in self.checks), default=0.0)

    def __str__(self) -> str:
        lines = [f"{'place':40} {'parameter':16} {'traced':>14} {'difference':>14} {'error':>9}"]
        lines += [
            f"{check.place:40} {check.parameter:16} {check.traced:14.6g} "
            f"{check.difference:14.6g} {check.error:9.1e}"
            for check in sorted(self.checks, key=lambda check: -check.error)
        ]
        lines += [f"{name}: {decision}" for name, decision in self.decisions.items()]
        return "\n".join(lines)


def check_gradients(
    function: Callable[..., Any],
    /,
    parameters: Mapping[str, Tensor],
    arguments: Mapping[str, Any] | None = None,
    *,
    step: float = 1e-6,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradients of all events with finite differences of plain PyPulseq.

    Numbers that are rounded count as constant here, as they are for a small step.

    Parameters
    ----------
    function
        A sequence function; or any function that returns events, numbers or arrays.
    parameters
        What to differentiate for, by name.
    arguments
        What else to pass, by name.
    step
        Step of the differences, relative to the parameter.
    seed
        Of the random directions and weights.
    """
    random = np.random.default_rng(seed)
    traced = trace(function, parameters, arguments, rounding="zero")
    fields = _real_fields(traced.result)
    program = Program(traced.tape, [(array.values, array.wires) for array in fields.values()])
    weights = {name: random.normal(size=array.shape) for name, array in fields.items()}
    checks, decisions = [], {}
    for name, tensor in parameters.items():
        values = tensor.detach().to(torch.float64)
        direction = torch.from_numpy(np.asarray(random.normal(size=values.shape)))
        length = step * (float(values.abs().max()) or 1.0)
        sides = []
        for sign in (1, -1):
            shifted = {**parameters, name: values + sign * length * direction}
            try:
                program(shifted)
            except GuardBroken as broken:
                decisions[name] = str(broken)
            sides.append(_plain_fields(function, shifted, arguments))
        leaf = values.clone().requires_grad_()
        outputs = program({**parameters, name: leaf})
        found = []
        for (place, array), output in zip(fields.items(), outputs, strict=True):
            weight, up, down = weights[place], *(side[place] for side in sides)
            if not array.wires.any() and np.array_equal(up, down):
                continue
            total = (output * torch.from_numpy(weight)).sum()
            slope = 0.0
            if total.requires_grad:  # else the tape holds nothing of it, though it moves
                (gradient,) = torch.autograd.grad(total, leaf, retain_graph=True)
                slope = float((gradient * direction).sum())
            difference = float(np.sum(weight * (up - down))) / (2 * length)
            noise = _NOISE * float(np.sum(np.abs(weight * up))) / length
            size = max(abs(slope), abs(difference))
            error = 0.0 if size <= noise else abs(slope - difference) / size
            # No comparison tells a NaN: a gradient that is none must not pass for a small error.
            error = error if math.isfinite(error) else math.inf
            found.append(GradientCheck(place, name, slope, difference, error))
        largest = max((abs(check.traced) for check in found), default=0.0)
        checks += [
            replace(check, error=0.0)
            if max(abs(check.traced), abs(check.difference)) < _NOISE * largest
            else check
            for check in found
        ]
    return GradientReport(tuple(checks), decisions)


def _plain_fields(
    function: Callable[..., Any],
    parameters: Mapping[str, Tensor],
    arguments: Mapping[str, Any] | None,
) -> dict[str, NDArray[np.float64]]:
    plain = {name: tensor.detach().double().numpy()[()] for name, tensor in parameters.items()}
    result = trace(function, {}, plain | dict(arguments or {})).result
    return {name: array.values for name, array in _real_fields(result).items()}


def _real_fields(result: Any) -> dict[str, Any]:
    """List the numbers of a result by where they are, complex ones part by part."""
    fields = {}
    for name, value in _fields(result, "result"):
        array = as_array(value)
        if np.iscomplexobj(array.values):
            fields[f"{name} (real)"], fields[f"{name} (imaginary)"] = array.real, array.imag
        else:
            fields[name] = array
    return fields


def _fields(result: Any, name: str) -> Iterator[tuple[str, Any]]:
    if issubclass(type(result), TracedSequence):
        for number, block in enumerate(result.traced_blocks(), start=1):
            yield f"block {number} duration", block.duration
            for event in block.events:
                yield from _fields(event, f"block {number}")
    elif isinstance(result, SimpleNamespace):
        own = [getattr(result, key) for key in ("type", "channel") if hasattr(result, key)]
        for key, value in vars(result).items():
            yield from _fields(value, " ".join([name, *own, key]))
    elif isinstance(result, (tuple, list)):
        for number, item in enumerate(result):
            yield from _fields(item, f"{name}[{number}]")
    elif not isinstance(result, (str, bool)) and np.asarray(raw(result)).dtype.kind in "fc":
        yield name, result

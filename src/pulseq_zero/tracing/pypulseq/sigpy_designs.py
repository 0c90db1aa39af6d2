"""Pulse designs of sigpy: algorithms that are not followed, but differentiated as a whole.

The Shinnar-Le Roux design solves for filters; its derivatives are central differences.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.tracing.numpy.arrays import as_traced, is_traced, raw, wrap
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.numpy.ufuncs import complex_wires
from pulseq_zero.tracing.tape.recording import current_tape

# Step of the differences, relative to the argument: far above the tolerance of the filters.
_STEP = 1e-3


class _Design:
    """A function of single numbers that makes a vector."""

    def __init__(self, function: Callable[..., Any], is_complex: bool) -> None:
        self._function = function
        self._is_complex = is_complex

    def compute(self, *operands: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.asarray(self._function(*(float(operand[0]) for operand in operands)))
        return np.concatenate([result.real, result.imag]) if self._is_complex else result

    def pull_back(
        self, operands: tuple[NDArray[np.float64], ...], gradient: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        gradients = []
        for number, operand in enumerate(operands):
            step = _STEP * (abs(float(operand[0])) or 1.0)
            sides = []
            for sign in (1, -1):
                shifted = list(operands)
                shifted[number] = operand + sign * step
                sides.append(self.compute(*shifted))
            gradients.append(np.array([np.sum(gradient * (sides[0] - sides[1])) / (2 * step)]))
        return tuple(gradients)


def as_a_whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of numbers that makes a vector be differentiated by differences."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def design(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        arguments = {name: as_traced(value) for name, value in arguments.items()}
        plain = {
            name: value.__index__() if isinstance(value, int) and is_traced(value) else raw(value)
            for name, value in arguments.items()
        }
        values = np.asarray(function(**plain))
        names = [
            name
            for name, value in arguments.items()
            if type(value) is TracedNumber and not isinstance(value, int)
        ]
        if not names:
            return values

        def of_numbers(*numbers: float) -> Any:
            return function(**plain | dict(zip(names, numbers, strict=True)))

        tape = current_tape()
        operands = tuple(tape.local(arguments[name].wire, plain[name]) for name in names)
        is_complex = np.iscomplexobj(values)
        size = values.size * (2 if is_complex else 1)
        wires: Any = tape.array("opaque", operands, (size,), _Design(of_numbers, is_complex))
        if is_complex:
            wires = complex_wires(wires[: values.size], wires[values.size :], values.shape)
        return wrap(values, wires)

    return design


def traced_designs(package: ModuleType, on_traced_globals: Callable[..., Any]) -> ModuleType:
    """Copy ``sigpy.mri.rf`` as PyPulseq's pulses use it: designs whole, modulation traced."""
    copy, designs, modulation = (
        ModuleType(module.__name__, module.__doc__)
        for module in (package, package.slr, package.multiband)
    )
    vars(copy).update(vars(package))
    vars(designs).update(vars(package.slr))
    vars(designs)["dzrf"] = as_a_whole(package.slr.dzrf)
    for name, value in vars(package.multiband).items():
        traced = on_traced_globals(value) if isinstance(value, FunctionType) else value
        setattr(modulation, name, traced)
    vars(copy).update(slr=designs, multiband=modulation)
    return copy

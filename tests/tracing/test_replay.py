"""Replay: right for new parameters, or refused."""

import math

import numpy as np
import pytest
import torch

from pulseq_zero.tracing import GuardBroken, Program, raw, trace, wires_of


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


def program_of(function, **values):
    """Program for what a function returns, and its result."""
    run = trace(function, {name: tensor(value) for name, value in values.items()})
    results = run.result if isinstance(run.result, tuple) else (run.result,)
    outputs = [(np.asarray(raw(x), dtype=float), np.asarray(wires_of(x))) for x in results]
    return Program(run.tape, outputs)


BRANCHES = {
    "less": (lambda x: 2 * x if x < 2 else x, 1.0, 3.0),
    "greater or equal": (lambda x: 2 * x if x >= 2 else x, 1.0, 3.0),
    "equal": (lambda x: 2 * x if x == 1 else x, 1.0, 3.0),
    "truth": (lambda x: 2 * x if x - 3 else x, 1.0, 3.0),
    "index": (lambda x: np.array([1.0, x, x * x, 3.0])[int(x)], 1.2, 2.3),
    "count": (lambda x: np.arange(int(x)) * x, 3.2, 4.3),
    "range": (lambda x: x * sum(range(round(x))), 2.0, 3.0),
    "length of arange": (lambda x: np.arange(0, x, 0.5), 1.2, 2.2),
    "argmax": (lambda x: x * np.argmax(np.array([1.0, x, 2.0])), 1.5, 2.5),
    "argmin": (lambda x: x * np.argmin([1.0, x, 2.0]), 1.5, 0.5),
    "argsort": (lambda x: x * np.argsort(np.array([1.0, x, 2.0])), 1.5, 2.5),
    "sort": (lambda x: np.sort(np.array([1.0, x, 2.0])), 1.5, 2.5),
    "unique": (lambda x: np.unique(np.array([1.0, x, 2.0])), 1.5, 2.0),
    "searchsorted": (lambda x: x * np.searchsorted([1.0, 2.0], x), 1.5, 2.5),
    "where": (lambda x: np.where(np.array([x, 1.0]) > 2, x, 0.0), 1.5, 2.5),
    "nonzero": (lambda x: x * np.nonzero(np.array([x - 1, 1.0]))[0][0], 1.5, 1.0),
    "mask": (lambda x: np.array([x, 1.0])[np.array([x, 1.0]) > 1.2], 1.5, 1.1),
    "any": (lambda x: 2 * x if np.any(np.array([x, 1.0]) > 2) else x, 1.5, 2.5),
    "isclose": (lambda x: 2 * x if np.isclose(x, 1.5) else x, 1.5, 2.5),
    "allclose": (lambda x: 2 * x if np.allclose(np.array([x]), 1.5) else x, 1.5, 2.5),
    "array_equal": (lambda x: 2 * x if np.array_equal(np.array([x]), [1.5]) else x, 1.5, 2.5),
    "sign": (lambda x: x * np.sign(x - 2), 1.5, 2.5),
    "isfinite": (lambda x: x if np.isfinite(1 / (x - 2)) else 0 * x, 1.5, 2.0),
    "interp": (lambda x: np.interp(x, [0.0, 2.0, 3.0], [0.0, 1.0, 5.0]), 1.5, 2.5),
    "hash": (lambda x: {1.5: 2 * x}.get(x, x), 1.5, 2.5),
    "sorted": (lambda x: sorted([x, 2.0, 1.0])[1] * x, 1.5, 2.5),
    "integer": (lambda x: x if x.is_integer() else 2 * x, 1.0, 1.5),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_another_way_through_the_code_is_refused(name):
    function, value, other = BRANCHES[name]
    program = program_of(function, x=value)
    torch.testing.assert_close(
        program({"x": tensor(value)})[0], tensor(np.asarray(raw(function(value)))).double()
    )
    with pytest.raises(GuardBroken, match="comes out differently"):
        program({"x": tensor(other)})


FOLLOWING = {
    "max": lambda x, y: max(x, y) + max([x, y, 1.0]),
    "min": lambda x, y: min(x, y) * min(3.0, x),
    "np.max": lambda x, y: np.max(np.array([x, y, 1.0])),
    "np.maximum": lambda x, y: np.maximum(np.array([x, y]), 1.0),
    "rounding": lambda x, y: round(x / 0.1) * 0.1 + math.ceil(y) + math.floor(x) + int(10 * y),
    "np rounding": lambda x, y: np.round(np.array([x, y]) * 7, 1) + np.ceil(x) + np.trunc(y),
    "remainder": lambda x, y: x % 0.3 + y // 0.3 + divmod(x, y)[0],
    "abs": lambda x, y: abs(x - y),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_needs_no_decision_is_followed(name):
    function = FOLLOWING[name]
    program = program_of(function, x=1.37, y=2.21)
    for x, y in ((1.37, 2.21), (2.9, 0.4), (0.2, 5.3)):
        (result,) = program({"x": tensor(x), "y": tensor(y)})
        np.testing.assert_allclose(result.numpy(), function(x, y), rtol=1e-12)


def test_rounding_is_straight_through_or_zero():
    for rounding, expected in (("straight-through", 3.0), ("zero", 0.0)):
        run = trace(lambda x: math.ceil(3 * x), {"x": tensor(1.1)}, rounding=rounding)
        program = Program(run.tape, [(np.asarray(4.0), np.asarray(wires_of(run.result)))])
        x = tensor(1.1).requires_grad_()
        (result,) = program({"x": x})
        result.backward()
        assert result.item() == 4
        assert x.grad.item() == expected


def test_views_and_assignments_are_those_of_numpy():
    def function(x):
        table = np.zeros((2, 3))
        row = table[1]
        row[:2] = x
        table[:, 2] = [x * x, 2 * x]
        flat = table.reshape(-1)
        flat[0] = 3 * x
        table[1, 1] += 1
        copied = table.copy()
        copied[0] = 0
        table.T[1, 0] = x
        fancy = table[[0, 1], [0, 2]]
        fancy[0] = 7
        return table, row, copied, fancy

    program = program_of(function, x=1.5)
    for x in (1.5, 0.3):
        for ours, plain in zip(program({"x": tensor(x)}), function(x), strict=True):
            np.testing.assert_allclose(ours.numpy(), plain)


def test_guards_keep_what_came_out_whatever_is_done_to_it():
    def function(x):
        mask = np.array([x, 1.0]) > 1.2
        mask[:] = True
        return x * 2

    program = program_of(function, x=1.1)
    assert program({"x": tensor(1.0)})[0] == 2
    with pytest.raises(GuardBroken):
        program({"x": tensor(1.5)})


def test_a_waveform_scaled_by_a_number_costs_a_few_operations():
    wave = np.sin(np.arange(5000.0)) + 2

    def function(x):
        signal = wave * x / 3
        if np.any(signal == 0) or np.any(np.abs(signal) < 0):
            raise ValueError
        return np.sum(signal * 0.1), np.sum(np.abs(signal))

    program = program_of(function, x=1.5)
    assert program.operations() < 20
    for x in (1.5, 0.2, 8.0):
        for ours, plain in zip(program({"x": tensor(x)}), function(x), strict=True):
            np.testing.assert_allclose(ours.numpy(), plain, rtol=1e-12)
    with pytest.raises(GuardBroken):
        program({"x": tensor(0.0)})


def test_equal_work_is_done_once():
    def function(x):
        return tuple(np.sin(np.arange(100.0) * x) for _ in range(50))

    assert program_of(function, x=1.5).operations() < 300


def test_parameters_without_effect_are_found():
    def function(x, y, z):
        return x * 2 if z > 0 else x

    assert program_of(function, x=1.0, y=2.0, z=3.0).inputs_without_effect() == ["y", "z"]


def test_decisions_that_rounding_takes_do_not_break_the_replay():
    """Two numbers that are equal but for rounding, compared by the script."""
    values = np.linspace(0.5, 1.5, 1001)
    more = values[0.1 * values + 0.2 * values > 0.3 * values][0]
    less = values[0.1 * values + 0.2 * values < 0.3 * values][0]
    program = program_of(lambda x: x if 0.1 * x + 0.2 * x > 0.3 * x else x + 0, x=more)
    program({"x": tensor(less)})

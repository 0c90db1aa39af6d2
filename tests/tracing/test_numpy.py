"""NumPy's functions with their options: the values of NumPy, bit by bit, and its derivatives."""

import math

import numpy as np
import pytest
import torch

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing import Program, check_gradients, raw, trace, wires_of

RANDOM = np.random.default_rng(0)
A, B, V = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(4, 3)), RANDOM.normal(size=4)
WEIGHTS = RANDOM.uniform(0.5, 2, size=4)

CASES = {
    "sum": lambda a: (np.sum(a, axis=(0, 1)), a.sum(-1, keepdims=True), np.add.reduce(a)),
    "methods": lambda a: (a.compress([True, False, True], axis=0), a.take([0, 2], axis=1)),
    "full": lambda a: (np.full((2, 2), a[0, 0]), np.full((2, 4), a[0], dtype=complex)),
    "sums and products of math": lambda a: (
        math.fsum(a[0]),
        math.fsum([a[0, 0], 1.0, a[0, 1]]),
        math.prod(x * x for x in a[0]),
        math.prod([a[0, 0], 2], start=a[1, 1]),
    ),
    "extremes": lambda a: (np.maximum.reduce(a, axis=None), np.max(a, axis=0, keepdims=True)),
    "mean": lambda a: (np.mean(a, axis=1, keepdims=True), np.average(a, axis=1, weights=WEIGHTS)),
    "weights": lambda a: np.average(a[0], weights=np.abs(a[1])),
    "variance": lambda a: (np.var(a, axis=1, keepdims=True), np.std(a, axis=0, ddof=1)),
    "complex variance": lambda a: np.var(a * np.exp(1j * a)),
    "product": lambda a: (np.prod(a, axis=1, keepdims=True), np.prod(a, axis=(0, 1))),
    "median": lambda a: (np.median(a, axis=1, keepdims=True), np.median(a), np.median(a, axis=0)),
    "differences": lambda a: (
        np.diff(a, n=2, axis=0),
        np.diff(a, prepend=0.0),
        np.diff(a[0], append=a[1, 0]),
        np.diff(a[0], prepend=np.array([1.0, 2.0])),
    ),
    "segments": lambda a: (
        np.add.reduceat(a[0], [0, 2]),
        np.add.reduceat(a[0] * np.exp(1j * a[1]), [0, 1, 3]),
    ),
    "products": lambda a: (a @ B, V[:3] @ a, np.dot(np.stack([A, A]), np.stack([a.T, a.T]))),
    "products in a stack": lambda a: np.matmul(np.stack([A, A]), np.stack([a.T, a.T])),
    "inner products": lambda a: (np.inner(a, A), np.vdot(a, a), a.dot(V)),
    "complex inner product": lambda a: np.vdot(a[0] * (1 + 1j), a[1] * (2 - 1j)),
    "powers": lambda a: (a**2, np.abs(a) ** 0.5, np.abs(a) ** -1, np.abs(a) ** 1.5, 2**a),
    "complex powers": lambda a: ((a + 1j) ** 2, (a + 1j) ** 0.5, (a + 1j) ** -1.5),
    "logarithm": lambda a: np.log(a + 1j),
    "line": lambda a: np.linspace(a[0], a[1], 3),
    "division": lambda a: (np.divmod(a, 0.7)[1], divmod(a, 0.7)[1]),
    "interpolation": lambda a: np.interp(
        np.array([-1, 5.0, 2.5]), np.cumsum(np.abs(a[0])), a[1], left=a[2, 0], right=0
    ),
}


def results(made):
    """List what a function returned, one or several arrays, as plain arrays."""
    return [np.asarray(raw(x)) for x in (made if isinstance(made, tuple) else (made,))]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_numpy_and_gradients_of_differences(name):
    function, parameters = CASES[name], {"a": torch.tensor(A)}
    expected = function(A.copy())
    for made in (
        trace(lambda a: function(a), parameters).result,
        trace(lambda: function(np.array(A)), {}).result,
    ):
        for ours, numpys in zip(results(made), results(expected), strict=True):
            assert (ours.shape, ours.dtype) == (numpys.shape, numpys.dtype)
            assert ours.tobytes() == numpys.tobytes()
    report = check_gradients(lambda a: function(a), parameters)
    assert report.checks
    assert report.worst < 1e-7, str(report)


TORCH = {
    "clamp": lambda a: torch.clamp(a, 0.3, 0.9),
    "clamp by name": lambda a: torch.clamp(a, max=0.5),
    "absolute": lambda a: torch.abs(a - 0.5),
    "running sum": lambda a: torch.cumsum(a, dim=1),
    "sum": lambda a: torch.sum(a, dim=0),
    "mean": lambda a: torch.mean(a),
}


@pytest.mark.parametrize("name", TORCH)
def test_functions_of_torch_do_to_traced_numbers_what_they_do_to_tensors(name):
    function = TORCH[name]
    there, here = (torch.tensor(A, requires_grad=True) for _ in range(2))
    expected = function(there)
    run = trace(lambda a: function(a), {"a": torch.tensor(A)})
    program = Program(run.tape, [(np.asarray(raw(run.result)), np.asarray(wires_of(run.result)))])
    (found,) = program({"a": here})
    torch.testing.assert_close(found, expected)
    weights = torch.from_numpy(RANDOM.normal(size=expected.shape))
    (slope,) = torch.autograd.grad((weights * found).sum(), here)
    torch.testing.assert_close(slope, torch.autograd.grad((weights * expected).sum(), there)[0])


REFUSED = {
    "out": lambda a: np.sum(a, axis=0, out=np.zeros(4)),
    "another type": lambda a: np.sum(a, dtype=np.float32),
    "where": lambda a: np.add(a, 1, where=A > 0, out=np.zeros((3, 4))),
    "segments along an axis": lambda a: np.add.reduceat(a, [0, 2], axis=1),
    "start": lambda a: np.max(a, initial=0.0),
    "weights returned": lambda a: np.average(a[0], weights=WEIGHTS, returned=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_followed_raise_for_traced_arrays_only(name):
    function = REFUSED[name]
    with pytest.raises(TracingError):
        trace(lambda a: function(a), {"a": torch.tensor(A)})
    made = trace(lambda: function(np.array(A)), {}).result
    for ours, numpys in zip(results(made), results(function(A)), strict=True):
        np.testing.assert_array_equal(ours, numpys)


def test_lists_of_arrays_that_do_not_fit_together_are_left_to_numpy():
    made = trace(lambda: np.linalg.multi_dot([np.array(A), np.array(B), np.array(A)]), {}).result
    np.testing.assert_array_equal(raw(made), np.linalg.multi_dot([A, B, A]))


def test_types_are_those_that_a_script_knows():
    def kinds(x):
        array = np.array([x, 1.0])
        return [
            type(x) is float,
            type(round(x)) is int,
            type(array) is np.ndarray,
            type(array[0]) is np.float64,
            float in (float, int),
            str is str,
            f"{type(x)} {type(array).__name__}",
        ]

    expected = [True] * 6 + ["<class 'float'> ndarray"]
    assert kinds(1.3) == expected
    assert trace(kinds, {"x": torch.tensor(1.3)}).result == expected

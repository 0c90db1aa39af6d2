"""Numbers that lose their gradient, and functions that cannot be followed, say so."""

import array
import copy
import inspect
import json
import pickle
import struct

import numpy as np
import pytest
import scipy.interpolate
import scipy.special
import torch

from pulseq_zero.errors import GradientLostError, TracingError
from pulseq_zero.tracing import GradientLossWarning, trace

PLAIN = np.zeros(3)


def run(function, **options):
    return trace(
        lambda x: function(x), {"x": torch.tensor(1.3, dtype=torch.float64)}, **options
    ).result


def assigned(x):
    table = PLAIN.copy()
    table[0] = x
    return table


def assigned_slice(x):
    table = PLAIN.copy()
    table[:2] = np.array([x, x])
    return table


def added_in_place(x):
    table = PLAIN.copy()
    table += x
    return table


LOSING = {
    "a plain array": assigned,
    "a slice of a plain array": assigned_slice,
    "in place": added_in_place,
    "pickle": pickle.dumps,
    "pickled array": lambda x: pickle.dumps(np.array([x])),
    "an array of the standard library": lambda x: array.array("d", [x]),
    "struct": lambda x: struct.pack("d", x),
    "scipy": lambda x: scipy.interpolate.interp1d([0, 1], [0, x])(0.5),
    "a view of the memory": lambda x: np.array([x]).tobytes(),
    "integers": lambda x: np.zeros(2, dtype=int).__setitem__(0, x),
    "json": lambda x: json.dumps({"x": [x]}),
    "text that is read again": lambda x: float(f"{x:.3f}"),
    "random numbers": lambda x: np.random.default_rng(0).normal(x),
}


@pytest.mark.parametrize("name", LOSING)
def test_a_loss_warns(name):
    with pytest.warns(GradientLossWarning, match="drops the gradient at"):
        run(LOSING[name])


@pytest.mark.parametrize("name", sorted(set(LOSING) - {"struct"}))
def test_a_loss_raises_if_asked_to(name):
    with pytest.raises(GradientLostError):
        run(LOSING[name], on_loss="raise")


def test_a_loss_names_file_and_line():
    lines, first = inspect.getsourcelines(assigned)
    line = first + next(k for k, text in enumerate(lines) if "= x" in text)
    with pytest.warns(GradientLossWarning, match=rf"test_losses\.py:{line}") as caught:
        run(assigned)
    assert caught[0].filename == __file__
    assert caught[0].lineno == line


UNSUPPORTED = {
    "solve": lambda x: np.linalg.solve(np.array([[x]]), np.ones(1)),
    "histogram": lambda x: np.histogram(np.array([x, 1.0])),
    "polyfit": lambda x: np.polyfit([0, 1, 2], np.array([x, 1, 2]), 1),
    "special function": scipy.special.erf,
    "tensor": torch.erf,
    "complex power": lambda x: (-x) ** 0.5,
    "method": lambda x: np.array([x]).partition(0),
    "maximum from a start": lambda x: np.max(np.array([x]), initial=0.0),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_followed_raises(name):
    with pytest.raises(TracingError):
        run(UNSUPPORTED[name])


@pytest.mark.parametrize(
    "function",
    [torch.tensor, lambda x: torch.from_numpy(np.array([x]))],
    ids=["tensor", "from_numpy"],
)
def test_what_cannot_be_converted_raises(function):
    with pytest.raises((TypeError, RuntimeError)):
        run(function)


@pytest.mark.parametrize(
    "function",
    [
        str,
        repr,
        "{:.3f}".format,
        lambda x: f"{x} {np.array([x])}",
        lambda x: f"{x:.3f} {float('2.5')}",
        lambda x: json.dumps({"number": 1.0, "text": str(x)}),
        copy.deepcopy,
        lambda x: copy.copy(np.array([x])),
        lambda x: float(x),
        lambda x: int(x * 3) * 2,
        lambda x: list(range(int(x * 3))),
        lambda x: [1, 2, 3][int(x)],
        lambda x: {x: 1}[x],
        lambda x: np.float32(x) + np.float64(x) + np.array([x], dtype=np.float32)[0],
        lambda x: sorted([x, 1.0, 2.0]),
        lambda x: isinstance(x, float) and isinstance(np.array([x]), np.ndarray),
    ],
)
def test_what_is_harmless_is_silent(function):
    run(function, on_loss="raise")


def test_reading_after_the_trace_is_silent():
    number, table = run(lambda x: (2 * x, np.array([x, 1.0])), on_loss="raise")
    assert float(number) == 2.6
    np.testing.assert_array_equal(np.asarray(table), [1.3, 1.0])


@pytest.mark.filterwarnings("ignore::pulseq_zero.tracing.GradientLossWarning")
def test_json_is_what_it_is_for_plain_numbers():
    made = run(lambda x: json.dumps({"x": x, "y": [1, None, x]}, indent=1))
    assert made == json.dumps({"x": 1.3, "y": [1, None, 1.3]}, indent=1)
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        run(lambda x: json.dumps({1}))
    assert run(lambda x: json.dumps({1}, default=list)) == "[1]"


def test_numbers_pass_for_what_they_are():
    def kinds(x):
        rounded = round(x)
        return (
            isinstance(x, float) and not isinstance(x, int),
            isinstance(rounded, int) and not isinstance(rounded, float),
            isinstance(np.sqrt(x), np.floating),
            isinstance(np.array([x]), np.ndarray),
            not hasattr(x, "shape") and hasattr(np.sqrt(x), "shape"),
        )

    assert all(run(kinds))


def test_errors_are_those_of_plain_numbers():
    with pytest.raises(ZeroDivisionError):
        run(lambda x: x / 0)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        run(lambda x: [1, 2][x])
    with pytest.raises(AttributeError, match="'float' object has no attribute 'shape'"):
        run(lambda x: x.shape)

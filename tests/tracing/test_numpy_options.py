"""Every option of NumPy's functions is followed, values and gradient, or refused."""

import inspect

import numpy as np
import pytest
import torch

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing import check_gradients, raw, trace
from pulseq_zero.tracing.numpy.functions import _HANDLERS, _MOVING

RANDOM = np.random.default_rng(0)
A, V = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=4)
SORTED, PLACES = np.sort(V), np.arange(4.0) ** 1.1

# What an option may be, other than what it is without a word
OPTIONS = {
    "append": [0.0],
    "atol": [0.5],
    "axes": [(1, 0)],
    "axis": [0, 1, -1, (0, 1)],
    "casting": ["unsafe"],
    "constant_values": [3.0],
    "correction": [1],
    "ddof": [1],
    "decimals": [1],
    "deg": [True],
    "discont": [1.0],
    "dtype": [np.float32, complex],
    "dx": [0.5],
    "edge_order": [2],
    "endpoint": [False],
    "equal_nan": [True, False],
    "fill_value": [2.0],
    "indexing": ["ij"],
    "k": [1],
    "keepdims": [True],
    "kind": ["stable"],
    "left": [7.0],
    "mean": [np.mean(A)],
    "mode": ["same", "valid", "reflect", "wrap"],
    "n": [2, 8],
    "nan": [1.0],
    "norm": ["ortho", "forward"],
    "num": [3],
    "ord": [1, np.inf],
    "order": ["F"],
    "overwrite_input": [True],
    "period": [1.5],
    "posinf": [2.0],
    "prepend": [0.0],
    "repeats": [2],
    "return_counts": [True],
    "return_index": [True],
    "return_inverse": [True],
    "returned": [True],
    "retstep": [True],
    "right": [8.0, True],
    "rtol": [0.5],
    "shape": [(2,)],
    "shift": [1],
    "side": ["right"],
    "sorted": [False],
    "sorter": [np.argsort(V)],
    "sparse": [True],
    "stable": [True],
    "weights": [np.abs(V)],
    "where": [A > 0],
    "x": [PLACES],
}

# What a function is given beside the options, if not the array alone
GIVEN = {
    "allclose": lambda a: (a, A + 0.1),
    "append": lambda a: (a, A),
    "array_equal": lambda a: (a, A),
    "array_equiv": lambda a: (a, A),
    "broadcast_to": lambda a: (a, (2, 3, 4)),
    "clip": lambda a: (a, -0.2, 0.2),
    "convolve": lambda a: (a[0], V),
    "cross": lambda a: (a[0, :3], V[:3]),
    "digitize": lambda a: (a[0], SORTED),
    "dot": lambda a: (a, V),
    "expand_dims": lambda a: (a, 0),
    "full_like": lambda a: (a, a[0, 0]),
    "inner": lambda a: (a, V),
    "interp": lambda a: (np.array([0.1, 0.2]), SORTED, a[0]),
    "isclose": lambda a: (a, A + 0.1),
    "linspace": lambda a: (a[0], a[1]),
    "matmul": lambda a: (a, V),
    "meshgrid": lambda a: (a[0], V),
    "outer": lambda a: (a[0], V),
    "pad": lambda a: (a, 1),
    "polyval": lambda a: (a[0], 0.3),
    "repeat": lambda a: (a, 2),
    "roll": lambda a: (a, 1),
    "searchsorted": lambda a: (a[0], 0.1),
    "vdot": lambda a: (a[0], V),
}


def works(call):
    """Tell whether NumPy itself takes the call."""
    try:
        call(A.copy())
    except Exception:
        return False
    return True


def calls():
    """List each function with each of its options, as far as NumPy takes it."""
    found = {}
    for function in {*_HANDLERS, *_MOVING} - {np.empty_like}:
        given = GIVEN.get(function.__name__, lambda a: (a,))
        for option in OPTIONS.keys() & inspect.signature(function).parameters.keys():
            for number, value in enumerate(OPTIONS[option]):

                def call(a, function=function, given=given, options={option: value}):  # noqa: B006
                    return function(*given(a), **options)

                if works(call):
                    found[f"{function.__name__}-{option}-{number}"] = call
    return found


CALLS = calls()


def parts(made):
    return [np.asarray(raw(x)) for x in (made if isinstance(made, tuple | list) else (made,))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CALLS))
def test_an_option_is_followed_or_refused(name):
    call, parameters = CALLS[name], {"a": torch.tensor(A)}
    try:
        made = trace(lambda a: call(a), parameters).result
    except TracingError:
        return
    for ours, numpys in zip(parts(made), parts(call(A.copy())), strict=True):
        assert (ours.shape, ours.dtype) == (numpys.shape, numpys.dtype)
        assert ours.tobytes() == numpys.tobytes()
    if any(part.dtype.kind in "fc" for part in parts(made)):
        assert check_gradients(lambda a: call(a), parameters).worst < 1e-7


def test_most_options_are_tried():
    assert len(CALLS) > 100

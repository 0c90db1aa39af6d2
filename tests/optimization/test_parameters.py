import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pulseq_zero.errors import OptimizationError
from pulseq_zero.optimization.parameters import Bounded, Parameter, as_parameters

inside = st.floats(-0.99, 0.99)


@given(inside, st.sampled_from([(-1.0, 1.0), (-1.0, math.inf), (-math.inf, 1.0), None]))
def test_the_change_of_variables_can_be_undone(value, bounds):
    lower, upper = bounds or (-math.inf, math.inf)
    transform = Bounded(Parameter(value, lower, upper, learning_rate=0.3))
    there = transform.free(torch.tensor(value, dtype=torch.float64))
    assert float(transform.value(there)) == pytest.approx(value, abs=1e-6)


@given(st.floats(-30, 30))
def test_no_free_value_leaves_the_bounds(free):
    x = Bounded(Parameter(0.5, 0.0, 1.0)).value(torch.tensor(free, dtype=torch.float64))
    assert 0.0 <= float(x) <= 1.0


def test_a_start_on_its_bound_can_leave_it():
    free = Bounded(Parameter(0.0, 0.0, 1.0)).free(torch.tensor(0.0, dtype=torch.float64))
    assert math.isfinite(float(free))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": math.nan}, "finite"),
        ({"start": 1.0, "lower": 2.0, "upper": 1.0}, "must lie below"),
        ({"start": 3.0, "upper": 2.0}, "outside the bounds"),
        ({"start": 1.0, "learning_rate": -1.0}, "not positive"),
    ],
)
def test_wrong_parameters_are_refused(arguments, message):
    with pytest.raises(OptimizationError, match=message):
        Parameter(**arguments)


def test_the_culprit_is_named():
    with pytest.raises(OptimizationError, match="'TI'"):
        as_parameters({"flip": 1.0, "TI": math.inf})
    with pytest.raises(OptimizationError, match="'TI'"):
        as_parameters({"TI": "one second"})
    with pytest.raises(OptimizationError, match="no parameters"):
        as_parameters({})

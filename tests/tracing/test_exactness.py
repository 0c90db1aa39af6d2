"""With plain numbers, tracing changes nothing: same events, same errors, same warnings."""

import inspect
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pypulseq as pp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pulseq_zero.tracing import raw, trace

SYSTEM = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", rf_dead_time=1e-4)


def numbers(low, high):
    """Numbers in a range, its ends and zero; not so small that their inverse overflows."""
    return st.floats(0, 1).map(
        lambda share: low + round(share, 6) * (high - low)
    ) | st.sampled_from([low, high, 0.0])


def maybe(strategy):
    return st.none() | strategy


TIMES = st.integers(-2, 400).map(lambda n: n * 1e-5) | numbers(-1e-4, 5e-3)
AREAS, AMPLITUDES = numbers(-2000, 2000), numbers(-2e6, 2e6)
USES = st.sampled_from(["excitation", "refocusing", "inversion", "wrong", "undefined"])
# Hz/m and Hz/m/s; most often no limits of their own.
LIMITS = {
    "max_grad": st.sampled_from([0, 0, 2e6, 1e4]),
    "max_slew": st.sampled_from([0, 0, 8e9, 1e8]),
}
DWELLS = st.sampled_from([0, 1e-6, 1e-5, 1e-4, -1e-6])
OFFSETS = {
    "delay": TIMES,
    "freq_offset": numbers(-1e3, 1e3),
    "phase_offset": numbers(-4, 4),
    "freq_ppm": numbers(-5, 5),
    "phase_ppm": numbers(-1, 1),
}
PULSE = OFFSETS | {"flip_angle": numbers(-4, 4), "use": USES}
SELECTIVE = (
    PULSE
    | LIMITS
    | {
        "dwell": DWELLS,
        "duration": TIMES,
        "time_bw_product": numbers(1, 8),
        "apodization": numbers(0, 1),
        "center_pos": numbers(0, 1),
        "slice_thickness": numbers(1e-3, 1e-1),
        "return_gz": st.booleans(),
    }
)

# Functions and what to call them with: valid and invalid calls alike.
CALLS = {
    "make_trapezoid": {
        "channel": st.sampled_from("xyzxyzxyzq"),
        "amplitude": maybe(AMPLITUDES),
        "area": maybe(AREAS),
        "flat_area": maybe(AREAS),
        "duration": maybe(TIMES),
        "flat_time": maybe(TIMES),
        "rise_time": maybe(TIMES),
        "fall_time": maybe(TIMES),
        "delay": TIMES,
        **{name: maybe(limit) for name, limit in LIMITS.items()},
    },
    "make_sinc_pulse": SELECTIVE,
    "make_gauss_pulse": SELECTIVE | {"bandwidth": numbers(0, 4e3)},
    "make_block_pulse": PULSE
    | {
        "duration": maybe(TIMES),
        "bandwidth": maybe(numbers(0, 4e3)),
        "time_bw_product": maybe(numbers(0, 4)),
    },
    "make_arbitrary_rf": PULSE
    | {
        "signal": st.lists(numbers(-1, 1), min_size=2, max_size=30).map(np.array),
        "no_signal_scaling": st.booleans(),
        "dwell": DWELLS,
        "bandwidth": numbers(0, 4e3),
        "time_bw_product": numbers(0, 4),
        "slice_thickness": numbers(0, 1e-1),
        "return_gz": st.booleans(),
        "center": maybe(TIMES),
        **LIMITS,
    },
    "make_adiabatic_pulse": {
        "pulse_type": st.sampled_from(["hypsec", "wurst", "wrong"]),
        "duration": st.integers(1, 200).map(lambda n: n * 1e-5),
        "beta": numbers(100, 1000),
        "mu": numbers(1, 6),
        "bandwidth": numbers(1e3, 4e4),
        "adiabaticity": numbers(1, 5),
        "n_fac": st.integers(2, 60),
        "dwell": maybe(st.sampled_from([1e-6, 1e-5])),
        "slice_thickness": numbers(0, 1e-1),
        "return_gz": st.booleans(),
        "use": USES,
        **OFFSETS,
        **LIMITS,
    },
    "make_arbitrary_grad": {
        "channel": st.sampled_from("xyzxyzxyzq"),
        "waveform": st.lists(numbers(-1e4, 1e4), min_size=3, max_size=30).map(np.array),
        "delay": TIMES,
        "first": maybe(numbers(-1e4, 1e4)),
        "last": maybe(numbers(-1e4, 1e4)),
        "oversampling": st.booleans(),
        **LIMITS,
    },
    "make_extended_trapezoid": {
        "channel": st.sampled_from("xyzxyzxyzq"),
        "amplitudes": st.lists(numbers(-1e5, 1e5), min_size=4, max_size=4).map(
            lambda a: np.array([0.0, *a[1:]])
        ),
        "times": st.sampled_from(
            [[0, 10, 20, 30], [2, 10, 11, 60], [0, 0, 1, 2], [5, 3], [0, 1, 2]]
        ).map(lambda n: np.array(n) * 1e-5),
        "skip_check": st.booleans(),
        "convert_to_arbitrary": st.booleans(),
        **LIMITS,
    },
    "make_extended_trapezoid_area": {
        "channel": st.sampled_from("xyz"),
        "area": AREAS,
        "grad_start": numbers(-1e5, 1e5),
        "grad_end": numbers(-1e5, 1e5),
        "convert_to_arbitrary": st.booleans(),
    },
    "make_adc": {
        "num_samples": st.integers(1, 64),
        "dwell": numbers(0, 1e-4),
        "duration": TIMES,
        "phase_modulation": st.none()
        | st.lists(numbers(-1, 1), min_size=1, max_size=8).map(np.array),
        **OFFSETS,
    },
    "make_delay": {"d": TIMES | st.sampled_from([float("nan"), float("inf")])},
    "make_trigger": {
        "channel": st.sampled_from(["physio1", "physio2", "wrong"]),
        "delay": TIMES,
        "duration": TIMES,
    },
    "make_digital_output_pulse": {
        "channel": st.sampled_from(["osc0", "ext1", "wrong"]),
        "delay": TIMES,
        "duration": TIMES,
    },
    "make_label": {
        "label": st.sampled_from(["LIN", "SLC", "WRONG"]),
        "type": st.sampled_from(["SET", "INC", "WRONG"]),
        "value": st.integers(-3, 9) | st.booleans() | numbers(0, 3),
    },
    "make_soft_delay": {
        "hint": st.sampled_from(["TE", "two words"]),
        "numID": maybe(st.integers(-1, 4)),
        "offset": TIMES,
        "factor": numbers(-2, 2),
        "default_duration": TIMES,
    },
}
ALWAYS = {"make_extended_trapezoid": {"amplitudes", "times"}, "make_trapezoid": {"duration"}}
WITHOUT_SYSTEM = {"make_delay", "make_label", "make_soft_delay"}


def test_every_argument_of_every_function_that_makes_an_event_is_called():
    made = {name for name in vars(pp) if name.startswith("make_") and callable(vars(pp)[name])}
    assert set(CALLS) == made
    for name, strategies in CALLS.items():
        known = set(inspect.signature(getattr(pp, name)).parameters) - {"system"}
        assert set(strategies) == known, name


def arguments_of(name):
    """Strategy for the arguments of a call: those without a default, and some others."""
    parameters = inspect.signature(getattr(pp, name)).parameters
    required = {
        key: value
        for key, value in CALLS[name].items()
        if parameters[key].default is inspect.Parameter.empty or key in ALWAYS.get(name, ())
    }
    optional = {key: value for key, value in CALLS[name].items() if key not in required}
    return st.fixed_dictionaries(required, optional=optional)


def outcome(function):
    """Write down what a call returns, raises and warns about (where), numbers bit by bit."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            result = function()
        except Exception as error:
            result = type(error), str(error)
    return written(result), [(w.category, str(w.message), w.filename, w.lineno) for w in caught]


def written(result):
    if isinstance(result, (tuple, list)):
        return [written(item) for item in result]
    if isinstance(result, SimpleNamespace):
        return {name: written(value) for name, value in vars(result).items()}
    value = raw(result)
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.dtype), value.shape, value.tobytes()
    return type(value), repr(value)


def call(name, arguments):
    return getattr(pp, name)(**arguments)


@pytest.mark.parametrize("name", CALLS)
def test_plain_numbers_give_what_plain_pypulseq_gives(name):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(arguments_of(name))
    def check(arguments):
        if name not in WITHOUT_SYSTEM:
            arguments["system"] = SYSTEM
        plain = outcome(lambda: call(name, dict(arguments)))
        traced = outcome(
            lambda: trace(call, {}, {"name": name, "arguments": dict(arguments)}).result
        )
        assert traced == plain

    check()


@pytest.mark.parametrize("name", CALLS)
def test_traced_numbers_have_the_values_of_plain_pypulseq(name):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(arguments_of(name))
    def check(arguments):
        if name not in WITHOUT_SYSTEM:
            arguments["system"] = SYSTEM
        traced_names = [key for key, value in arguments.items() if type(value) is float]

        def function(**numbers):
            return call(name, arguments | numbers)

        plain = outcome(lambda: call(name, dict(arguments)))
        parameters = {
            key: torch.tensor(arguments[key], dtype=torch.float64) for key in traced_names
        }
        assert outcome(lambda: trace(function, parameters).result) == plain

    check()


def line_above():
    """Return the number of the line above the call."""
    return sys._getframe(1).f_lineno - 1


def with_early_pulse(flip_angle):
    seq = pp.Sequence(SYSTEM)
    rf = pp.make_sinc_pulse(flip_angle, duration=2e-3, system=SYSTEM, use="excitation")
    made = line_above()
    seq.add_block(rf)
    return seq, rf, made, line_above()


@pytest.mark.parametrize("run", [lambda function, _: function(1.0), trace], ids=["plain", "traced"])
def test_warnings_and_pypulseqs_own_traces_name_the_line_of_the_script(run):
    pp.enable_trace()
    try:
        with pytest.warns(UserWarning, match="less than the dead time") as caught:
            result = run(with_early_pulse, {"flip_angle": torch.tensor(1.0)})
    finally:
        pp.disable_trace()
    seq, rf, made, added = getattr(result, "result", result)
    assert (caught[0].filename, caught[0].lineno) == (__file__, made)
    for (frame,), line in ((rf.trace, made), (seq.block_trace[1].block, added)):
        assert (frame.filename, frame.lineno) == (__file__, line)

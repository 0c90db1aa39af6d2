"""What is traced, and what is left as it is."""

import contextlib
import functools
import importlib.util
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import helper
import numpy as np
import pypulseq as pp
import pytest
import torch

import pulseq_zero as pz
from pulseq_zero.conversion import convert
from pulseq_zero.errors import SequenceError, TracingError
from pulseq_zero.tracing import (
    GradientLossWarning,
    check_gradients,
    is_traced,
    raw,
    trace,
    traced_numpy,
    tracing,
)


def tensor(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def derivative(function, value):
    """Differentiate a function by the tape and by differences."""
    (check,) = check_gradients(function, {"x": tensor(value)}).checks
    return check.traced, check.difference


def names():
    return {
        (module, name): value
        for module in (__name__, "helper", "pypulseq", "pypulseq.make_trapezoid", "numpy", "math")
        for name, value in vars(sys.modules[module]).items()
    }


def test_everything_is_as_before_after_a_context():
    before = names()
    with tracing():
        assert pp.Sequence is not before[__name__, "pp"].Sequence
        assert helper.np is traced_numpy
        assert sys.modules["pypulseq"].make_delay is before["pypulseq", "make_delay"]
    assert names() == before


def test_everything_is_as_before_after_an_exception():
    before = names()
    with pytest.raises(ValueError, match="invalid"), tracing():
        pp.make_delay(-1.0)
    assert names() == before


def test_contexts_can_be_nested_and_repeated():
    before = names()
    for _ in range(2):
        with tracing() as outer:
            x = pp.make_delay(tensor(1e-3)).delay
            with tracing() as inner:
                assert inner is outer
                y = pp.make_delay(x + 1).delay
            assert y > x
    assert names() == before


def test_a_trace_within_a_trace_has_a_tape_of_its_own():
    with tracing() as outer:
        inner = trace(lambda x: pp.make_delay(2 * x), {"x": tensor(1e-3)})
        assert inner.tape is not outer
        assert not outer.records
        pp.make_delay(tensor(1.0) * 1)
        assert outer.inputs


def test_numbers_of_another_trace_are_refused():
    old = trace(lambda x: 2 * x, {"x": tensor(1.0)}).result
    with pytest.raises(TracingError, match="earlier trace"), tracing():
        old + 1
    with pytest.raises(TracingError, match="outside"):
        old + 1


def test_other_threads_see_plain_pypulseq():
    types = []

    def work():
        plain = sys.modules["pypulseq"]
        types.append(type(plain.make_sinc_pulse(1.0, use="excitation").signal))
        types.append(plain.Sequence)

    with tracing():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert types == [np.ndarray, pp.Sequence]


def shared_script(flip_angle, amplitudes=(1.0, 2.0), pause=lambda: None):
    """Make a sequence, in two threads at a time; return it and what else the script sees."""
    seq = pp.Sequence()
    rf, gz, gzr = pp.make_sinc_pulse(
        flip_angle, slice_thickness=5e-3, return_gz=True, use="excitation"
    )
    pause()
    table = np.zeros(3)
    table[:2] = amplitudes
    seq.add_block(rf, gz)
    seq.add_block(pp.make_trapezoid("x", area=100 * max(table) * math.sqrt(4.0)), gzr)
    seq.add_block(pp.make_delay(float(np.sum(np.array([1e-3, table[0] * 1e-3])))))
    return seq, table, rf.signal, isinstance(seq, pp.Sequence)


def test_another_thread_may_run_the_very_same_script(tmp_path):
    results = []
    plain = shared_script(1.1)
    assert [type(x) for x in plain] == [pp.Sequence, np.ndarray, np.ndarray, bool]

    def in_another_thread():
        thread = threading.Thread(target=lambda: results.append(shared_script(1.1)))
        thread.start()
        thread.join()

    traced = trace(shared_script, {"flip_angle": tensor(1.1)}, {"pause": in_another_thread})
    assert [type(x) for x in results[0]] == [type(x) for x in plain]
    assert results[0][3]
    for name, seq in (("0", plain[0]), ("1", results[0][0]), ("2", traced.sequence)):
        seq.write(str(tmp_path / name))
    assert len({(tmp_path / f"{name}.seq").read_text() for name in "012"}) == 1
    assert type(traced.sequence) is not pp.Sequence
    assert check_gradients(shared_script, {"flip_angle": tensor(1.1)}).worst < 1e-7


def test_traced_numbers_are_of_no_use_to_another_thread():
    def elsewhere(function):
        with ThreadPoolExecutor() as pool:
            return pool.submit(function).result()

    with pytest.raises(TracingError, match="another thread"):
        trace(lambda x: elsewhere(lambda: 2 * x), {"x": tensor(1.0)})
    with pytest.warns(GradientLossWarning, match=r"float\(x\)"):
        trace(lambda x: elsewhere(x.__float__), {"x": tensor(1.0)})


def test_modules_of_the_script_are_traced():
    traced, difference = derivative(helper.arithmetic, 1.3)
    assert traced == pytest.approx(difference, rel=1e-8)
    report = check_gradients(helper.trapezoid, {"area": tensor(100.0)})
    assert report.worst < 1e-8


def test_imports_inside_of_functions_are_traced():
    def function(x):
        from math import sqrt

        import lazy_helper
        import numpy
        from pypulseq import make_delay
        from pypulseq.make_trapezoid import make_trapezoid

        trapezoid = make_trapezoid("x", area=100 * x, duration=2e-3)
        table = lazy_helper.table(x)
        return (
            trapezoid.area * make_delay(x).delay * sqrt(x) * numpy.array([x, 1.0])[0] * table[0]
        ) * lazy_helper.delay(x).delay

    traced, difference = derivative(function, 1.1)
    assert traced == pytest.approx(difference, rel=1e-8)
    import lazy_helper

    assert lazy_helper.np is sys.modules["numpy"]
    assert lazy_helper.pp is sys.modules["pypulseq"]


def test_partials_closures_lambdas_and_objects_are_traced():
    class Script:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return self.method(x)

        def method(self, x):
            return math.sqrt(x) * self.factor * np.array([x])[0]

    factor = 2.0

    def nested(x):
        def inner(y):
            return math.exp(y) * factor

        return inner(x)

    for function in (
        Script(3.0),
        Script(3.0).method,
        functools.partial(lambda a, x: math.sin(a * x), 2.0),
        nested,
    ):
        traced, difference = derivative(function, 0.7)
        assert traced == pytest.approx(difference, rel=1e-8)


def test_the_facade_leads_to_pypulseq():
    assert pz.make_delay is pp.make_delay
    assert pz.Sequence is pp.Sequence
    traced, difference = derivative(
        lambda x: pz.make_trapezoid("x", area=x, duration=1e-3).area, 1.1
    )
    assert traced == pytest.approx(difference, rel=1e-8)
    with pytest.raises(AttributeError):
        _ = pz.make_nothing


def test_a_script_that_is_loaded_by_its_path_is_traced(tmp_path):
    (tmp_path / "loaded.py").write_text(
        "import pypulseq as pp\n\n\ndef main(delay):\n"
        "    seq = pp.Sequence()\n"
        "    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, use='excitation'))\n"
        "    seq.add_block(pp.make_delay(2 * delay))\n"
        "    seq.add_block(pp.make_adc(1, dwell=1e-5))\n"
        "    return seq\n"
    )
    specification = importlib.util.spec_from_file_location("loaded", tmp_path / "loaded.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    delay = tensor(3e-3)
    with contextlib.ExitStack() as stack:
        stack.enter_context(tracing())
        seq = module.main(delay)
    (slope,) = torch.autograd.grad(convert(seq).event_time.sum(), delay)
    assert slope.item() == pytest.approx(2.0)
    assert module.pp is pp


def test_a_method_of_an_object_of_another_module_is_traced():
    adder, x = helper.Adder(2.0), tensor(1.3)
    with tracing():
        assert isinstance(raw(adder.add(x)), float)
        assert is_traced(adder.add(x))


def test_a_plain_sequence_is_converted_as_it_is():
    plain = shared_script(1.1)[0]
    plain.add_block(pp.make_adc(1, dwell=1e-5))
    with tracing():
        seq = shared_script(1.1)[0]
        seq.add_block(pp.make_adc(1, dwell=1e-5))
    traced, constant = convert(seq), convert(plain)
    for name in ("pulse_angle", "event_time", "gradient_moment", "adc_phase"):
        torch.testing.assert_close(getattr(constant, name), getattr(traced, name))
    with pytest.raises(SequenceError, match="not a SimpleNamespace"):
        convert(pp.make_delay(1e-3))


def test_tensors_in_a_script_are_differentiated():
    delay, flip = tensor(3e-3), tensor(1.2)
    with tracing():
        seq = pp.Sequence()
        seq.add_block(pp.make_block_pulse(flip * 2, duration=1e-3, use="excitation"))
        seq.add_block(pp.make_delay(math.ceil(delay / 1e-5) * 1e-5 + np.sin(delay) * 0))
        seq.add_block(pp.make_adc(4, dwell=1e-5))
    assert isinstance(seq, pp.Sequence)
    repetitions = convert(seq)
    total = repetitions.event_time.sum() + 10 * repetitions.pulse_angle.sum()
    gradients = torch.autograd.grad(total, [delay, flip])
    assert [g.item() for g in gradients] == pytest.approx([1.0, 20.0])


def test_tensors_without_gradient_are_numbers():
    with tracing():
        event = pp.make_delay(torch.tensor(1e-3, dtype=torch.float64))
    assert type(event.delay) is float


def test_plain_numbers_give_the_events_of_plain_pypulseq():
    def events():
        return [
            pp.make_sinc_pulse(1.0, slice_thickness=5e-3, return_gz=True, use="excitation"),
            pp.make_adiabatic_pulse("hypsec", duration=10e-3),
            pp.make_extended_trapezoid_area(100.0, "x", 0.0, 0.0),
            pp.add_gradients(
                [pp.make_trapezoid("x", area=a, duration=a * 1e-5) for a in (100, 200)]
            ),
        ]

    assert repr(events()) == repr(trace(events, {}).result)

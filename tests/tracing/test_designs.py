"""Pulses that sigpy designs."""

import pypulseq as pp
import pytest
import torch

from pulseq_zero.tracing import check_gradients, trace

pytest.importorskip("sigpy", reason="sigpy is not installed")

from pypulseq.make_sigpy_pulse import sigpy_n_seq


def pulse(kind="slr", design=None, **arguments):
    defaults = {
        "flip_angle": 1.0,
        "duration": 2e-3,
        "time_bw_product": 4.0,
        "slice_thickness": 5e-3,
        "use": "excitation",
        "plot": False,
    }
    options = pp.SigpyPulseOpts(pulse_type=kind, ptype="st", ftype="ls", **design or {})
    return sigpy_n_seq(**defaults | arguments, pulse_cfg=options)


CASES = {
    "flip": (lambda x: pulse(flip_angle=x), 1.0, 1e-6, 1e-6),
    "thickness": (lambda x: pulse(slice_thickness=x), 5e-3, 1e-6, 1e-6),
    "time-bandwidth product": (lambda x: pulse(time_bw_product=x), 4.0, 1e-3, 1e-2),
    "ripple": (lambda x: pulse(design={"d1": x}), 0.01, 1e-3, 1e-2),
    "bands, flip": (lambda x: pulse("sms", flip_angle=x), 1.0, 1e-6, 1e-6),
    "separation": (lambda x: pulse("sms", {"band_sep": x, "n_bands": 3}), 20.0, 1e-3, 1e-2),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_finite_differences(name):
    function, value, step, tolerance = CASES[name]
    parameters = {"x": torch.tensor(value, dtype=torch.float64)}
    report = check_gradients(lambda x: function(x), parameters, step=step)
    assert any(check.difference for check in report.checks)
    assert report.worst < tolerance, str(report)


@pytest.mark.parametrize("kind", ["slr", "sms"])
def test_plain_numbers_give_the_events_of_plain_pypulseq(kind):
    assert repr(pulse(kind)) == repr(trace(pulse, {}, {"kind": kind}).result)

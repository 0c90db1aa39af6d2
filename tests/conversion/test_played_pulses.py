"""Pulses as they are played, as functions of parameters."""

import inspect

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert

SYSTEM = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3)

START = {"flip": 0.7, "slope": 0.4, "still": 0.0}


def hard(flip, **options):
    return pp.make_block_pulse(flip, duration=1e-3, system=SYSTEM, use="excitation", **options)


def bent(flip, slope):
    envelope = np.hanning(1000) * np.exp(1j * slope * np.linspace(-1, 1, 1000))
    return pp.make_arbitrary_rf(envelope, flip, dwell=1e-6, system=SYSTEM, use="excitation")


def sequence_of(pulses):
    def sequence(**given):
        made = pp.Sequence(SYSTEM)
        for pulse in pulses(**given):
            made.add_block(pulse)
        made.add_block(pp.make_adc(1, duration=1e-4, system=SYSTEM))
        return made

    return sequence


def scaled(pulses):
    names = inspect.signature(pulses).parameters
    values = {name: torch.tensor(START[name], dtype=torch.float64) for name in names}
    played = SequenceModel(sequence_of(pulses), pulses="played")(values).played
    return [played.scaled[number] for number in played.pulse]


@pytest.mark.parametrize(
    ("pulses", "expected"),
    [
        (lambda flip: [hard(flip), hard(2 * flip)], [True, True]),
        (lambda flip: [hard(flip), bent(flip, 0.5)], [True, True]),
        (lambda flip, slope: [hard(flip), bent(0.5, slope)], [True, False]),
        (lambda flip, slope: [hard(flip), bent(flip, slope), hard(slope)], [True, False, True]),
        # Of which the one cancels the other where directions are alike
        (lambda slope: [bent(0.5, slope), bent(0.5, -slope)], [False, False]),
        (lambda flip: [hard(flip), hard(0.0 * flip), bent(1.0, 0.3)], [True, False, True]),
        # Its slopes are zero where it is traced
        (lambda still: [hard(0.5), bent(0.5, still**2)], [True, False]),
        # A weak one among strong ones
        (lambda flip, slope: [hard(flip), bent(1e-4, slope)], [True, False]),
    ],
)  # fmt: skip
def test_pulses_that_a_factor_changes_are_told_from_others(pulses, expected):
    assert scaled(pulses) == expected


def gauss(flip, offset, ppm=0.0):
    return pp.make_gauss_pulse(
        flip, duration=8e-3, bandwidth=400, freq_offset=offset, freq_ppm=ppm, system=SYSTEM,
        use="saturation",
    )  # fmt: skip


def swept(beta):
    return pp.make_adiabatic_pulse("hypsec", duration=10e-3, beta=beta, system=SYSTEM)


# Pulses of one number, where they are traced, and where they are replayed
COMPLEX = {
    "hard, off resonance": (lambda x: hard(x, freq_offset=150.0), 0.7, 1.1),
    "fat saturation": (lambda x: gauss(x, -440.0), 1.9, 1.5),
    "its frequency": (lambda x: gauss(1.9, x), -440.0, -400.0),
    "a frequency that was zero": (lambda x: gauss(1.9, x), 0.0, -440.0),
    "a frequency that was low": (lambda x: gauss(1.9, x), 10.0, 3000.0),
    "a frequency in parts per million": (lambda x: gauss(1.9, 0.0, x), 0.0, -3.4),
    "complex samples": (lambda x: bent(x, 0.5), 0.7, -0.9),
    "their phase": (lambda x: bent(0.7, x), 0.5, 0.8),
    "adiabatic": (swept, 800.0, 780.0),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_pulses_off_a_line_are_replayed_as_they_would_be_made(name):
    pulse, traced, replayed = COMPLEX[name]
    sequence = sequence_of(lambda x: [pulse(x)])
    model = SequenceModel(sequence, pulses="played")
    model({"x": torch.tensor(traced, dtype=torch.float64)})
    found = model({"x": torch.tensor(replayed, dtype=torch.float64)}).played
    expected = convert(sequence(x=replayed), pulses="played").played
    assert float(expected.signal.imag.abs().max()) > 0.05 * float(expected.signal.abs().max())
    for part in ("signal", "time", "moment", "centre"):
        # Files have six digits
        torch.testing.assert_close(
            getattr(found, part), getattr(expected, part), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("name", COMPLEX)
def test_as_rotations_they_are_replayed_as_they_would_be_made(name):
    pulse, traced, replayed = COMPLEX[name]
    sequence = sequence_of(lambda x: [pulse(x)])
    model = SequenceModel(sequence)
    model({"x": torch.tensor(traced, dtype=torch.float64)})
    found = model({"x": torch.tensor(replayed, dtype=torch.float64)})
    expected = convert(sequence(x=replayed))
    one, other = (torch.polar(each.pulse_angle, each.pulse_phase) for each in (found, expected))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", COMPLEX)
def test_gradients_of_pulses_off_a_line_are_finite_differences(name):
    pulse, start, _ = COMPLEX[name]
    model = SequenceModel(sequence_of(lambda x: [pulse(x)]), pulses="played")
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    signal = torch.view_as_real(model({"x": x}).played.signal)
    step = 1e-5 * max(abs(start), 1.0)
    up, down = (
        torch.view_as_real(
            model({"x": torch.tensor(start + way, dtype=torch.float64)}).played.signal
        )
        for way in (step, -step)
    )
    weight = torch.randn(signal.shape, generator=torch.Generator().manual_seed(0)).double()
    (slope,) = torch.autograd.grad((weight * signal).sum(), x)
    expected = float((weight * (up - down)).sum()) / (2 * step)
    assert float(slope) == pytest.approx(expected, rel=1e-5)


def test_a_gradient_under_a_pulse_counts_although_it_was_off():
    def sequence(x):
        made = pp.Sequence(SYSTEM)
        slab = pp.make_trapezoid("z", amplitude=x, duration=4e-3, rise_time=1e-3, system=SYSTEM)
        made.add_block(hard(0.7, freq_offset=150.0, delay=1.5e-3), slab)
        made.add_block(pp.make_adc(1, duration=1e-4, system=SYSTEM))
        return made

    model = SequenceModel(sequence)
    found = [model({"x": torch.tensor(x, dtype=torch.float64)}) for x in (0.0, 1e5)]
    for repetitions, x in zip(found, (0.0, 1e5), strict=True):
        expected = convert(sequence(x))
        torch.testing.assert_close(repetitions.pulse_angle, expected.pulse_angle)
    assert float(found[0].pulse_angle) < 0.99 * float(found[1].pulse_angle)

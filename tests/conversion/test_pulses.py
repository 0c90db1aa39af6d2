"""Pulses as rotations, against Bloch integration."""

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from support.bloch import after_pulse, after_repetitions

SYSTEM = pp.Opts(
    max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", rf_ringdown_time=30e-6
)
ONE = {"scale": torch.tensor(1.0, dtype=torch.float64)}


def of_blocks(make, **options):
    """Repetitions of a sequence that is made of the blocks that a function returns."""

    def function(scale):
        seq = pp.Sequence(SYSTEM)
        for events in make(scale):
            seq.add_block(*events)
        seq.add_block(pp.make_adc(2, dwell=1e-5, delay=1e-6 * scale))
        return seq

    return SequenceModel(function, **options)(ONE)


def adiabatic(pulse_type):
    arguments = {"hypsec": {"beta": 800, "mu": 4.9}, "wurst": {"bandwidth": 20e3}}[pulse_type]
    return pp.make_adiabatic_pulse(
        pulse_type, duration=10e-3, adiabaticity=4, system=SYSTEM, use="inversion", **arguments
    )


@pytest.mark.parametrize("pulse_type", ["hypsec", "wurst"])
def test_an_adiabatic_pulse_inverts_as_bloch_says(pulse_type):
    rf = adiabatic(pulse_type)
    expected = after_pulse(rf, np.zeros(1))[0, 2]
    repetitions = of_blocks(lambda scale: [(adiabatic(pulse_type),)])
    assert expected < -0.99
    assert np.cos(repetitions.pulse_angle[0].item()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("pulse_type", ["hypsec", "wurst"])
def test_sub_pulses_see_the_band_of_an_adiabatic_pulse(pulse_type):
    offsets = np.linspace(-1500, 1500, 41)
    expected = after_pulse(adiabatic(pulse_type), offsets)[:, 2]
    repetitions = of_blocks(lambda scale: [(adiabatic(pulse_type),)], sub_pulses=400)
    found = after_repetitions(repetitions, np.zeros((41, 3)), offsets, 399)[:, 2]
    np.testing.assert_allclose(found, expected, atol=0.02)


def selective(frequency=0.0, **arguments):
    rf, gz, gzr = pp.make_sinc_pulse(
        np.pi / 2,
        duration=3e-3,
        slice_thickness=5e-3,
        apodization=0.5,
        time_bw_product=4,
        freq_offset=frequency,
        system=SYSTEM,
        return_gz=True,
        use="excitation",
        **arguments,
    )
    return rf, gz, gzr


@pytest.mark.parametrize("frequency", [0.0, 700.0])
def test_sub_pulses_give_the_slice_profile_that_bloch_gives(frequency):
    rf, gz, _ = selective(frequency)
    positions = np.linspace(-8e-3, 8e-3, 81)
    expected = after_pulse(rf, gz.amplitude * positions)
    # the profile right after the pulse, turned back by what passes until the samples
    repetitions = of_blocks(lambda scale: [selective(frequency)[:2]], sub_pulses=32)
    places = np.stack([0 * positions, 0 * positions, positions], 1)
    found = after_repetitions(repetitions, places, 0 * positions, 31)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-2)
    shift = frequency / gz.amplitude
    inside = np.abs(positions - shift) < 1e-3
    assert np.all(np.abs(expected[inside, 2]) < 0.2)


def test_a_selective_pulse_has_the_phase_of_its_centre():
    """As one rotation and as many, a shifted slice has the same phase in its middle."""

    def blocks(scale):
        rf, gz, gzr = selective(700.0, phase_offset=0.4)
        return [(rf, gz), (gzr,)]

    gz = selective(700.0)[1]
    place = np.array([[0.0, 0.0, 700.0 / gz.amplitude]])
    once, often = of_blocks(blocks), of_blocks(blocks, sub_pulses=64)
    a = after_repetitions(once, place, np.zeros(1), len(once.event_time))
    b = after_repetitions(often, place, np.zeros(1), len(often.event_time))
    np.testing.assert_allclose(a, b, atol=2e-2)


def test_an_off_resonant_pulse_without_gradient_spares_the_spins_on_resonance():
    def blocks(scale, frequency=-440.0):
        return [
            (
                pp.make_gauss_pulse(
                    np.pi / 2,
                    duration=8e-3,
                    bandwidth=300,
                    freq_offset=frequency,
                    system=SYSTEM,
                    use="saturation",
                ),
            )
        ]

    rf = blocks(1.0)[0][0]
    expected = after_pulse(rf, np.array([0.0, -440.0]))
    assert expected[0, 2] > 0.95
    assert abs(expected[1, 2]) < 1e-3
    once = of_blocks(blocks)
    assert np.cos(once.pulse_angle[0].item()) == pytest.approx(expected[0, 2], abs=1e-3)
    often = of_blocks(blocks, sub_pulses={"saturation": 64})
    found = after_repetitions(often, np.zeros((2, 3)), np.array([0.0, -440.0]), 63)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=2e-2)


def test_the_turn_of_an_off_resonant_pulse_goes_into_the_phases_after_it():
    """A pulse far off resonance only turns the spins about z (Bloch-Siegert)."""
    shift = pp.make_block_pulse(
        3.0, duration=2e-3, freq_offset=1500.0, system=SYSTEM, use="preparation"
    )
    expected = after_pulse(shift, np.zeros(1), (1.0, 0.0, 0.0))[0]

    def blocks(scale):
        return [
            (pp.make_block_pulse(np.pi / 2, duration=1e-4, system=SYSTEM, use="excitation"),),
            (shift,),
        ]

    repetitions = of_blocks(blocks)
    turn = np.arctan2(expected[1], expected[0])
    assert abs(turn) > 0.1
    without = of_blocks(lambda scale: blocks(scale)[:1])
    change = repetitions.adc_phase[-1] - without.adc_phase[-1]
    assert change.item() == pytest.approx(turn, abs=2e-2)


def test_the_angle_passes_through_zero_with_its_gradient():
    flip = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)

    def function(flip):
        seq = pp.Sequence(SYSTEM)
        seq.add_block(pp.make_block_pulse(flip, duration=1e-3, system=SYSTEM, use="excitation"))
        seq.add_block(pp.make_adc(2, dwell=1e-5))
        return seq

    model = SequenceModel(function)
    (gradient,) = torch.autograd.grad(model({"flip": flip}).pulse_angle[0], flip)
    assert gradient.item() == pytest.approx(1.0)
    assert model({"flip": flip - 0.3}).pulse_angle[0].item() == pytest.approx(-0.3)


def test_a_frequency_of_the_adc_moves_the_field_of_view():
    """Spins at the place that the frequency belongs to are in the middle of the image."""
    place, n = 0.03, 32
    gx = pp.make_trapezoid("x", flat_area=n / 0.2, flat_time=3.2e-3, system=SYSTEM)

    def function(scale):
        seq = pp.Sequence(SYSTEM)
        seq.add_block(pp.make_block_pulse(0.1, duration=1e-4, system=SYSTEM, use="excitation"))
        seq.add_block(pp.make_trapezoid("x", area=-gx.area / 2, system=SYSTEM))
        seq.add_block(
            gx,
            pp.make_adc(
                n, duration=3.2e-3, delay=gx.rise_time, freq_offset=gx.amplitude * place * scale
            ),
        )
        return seq

    repetitions = SequenceModel(function)(ONE)
    k = repetitions.kspace()[:, 0].numpy()
    receiver = repetitions.adc_phase[repetitions.is_sample].detach().numpy()
    signal = np.exp(2j * np.pi * k * place) * np.exp(1j * receiver)
    image = np.abs(np.fft.fftshift(np.fft.fft(signal)))
    assert np.argmax(image) == n // 2

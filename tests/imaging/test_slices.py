"""How far a slice goes on beyond its thickness: as far as pulses excite."""

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.phantom import Phantom, TissuePool
from pulseq_zero.simulation.slices import excited_thickness
from support import pulses


def slice_phantom(thickness=5e-3):
    """Make one pixel of white matter."""
    pool = TissuePool.of(torch.ones(1, 1), T1=0.9, T2=0.08, T2dash=0.05)
    return Phantom(fov=(0.2, 0.2), pools={"wm": pool}, masks={}, slice_thickness=thickness)


def gradient_echoes(flip=0.3, count=60, TR=0.05):
    """Play spoiled gradient echoes, of which the last one is sampled."""
    rf, gz, _ = pp.make_sinc_pulse(
        flip_angle=flip,
        duration=2e-3,
        slice_thickness=5e-3,
        apodization=0.5,
        time_bw_product=4,
        system=pulses.SYSTEM,
        return_gz=True,
        use="excitation",
    )
    rewinder = pp.make_trapezoid("z", area=-gz.area / 2, system=pulses.SYSTEM)
    spoiler = pp.make_trapezoid("z", area=800, system=pulses.SYSTEM)
    sequence = pp.Sequence(pulses.SYSTEM)
    for number in range(count):
        rf.phase_offset = np.deg2rad(117) * number * (number + 1) / 2 % (2 * np.pi)
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        if number == count - 1:
            sequence.add_block(pulses.adc(1, phase_offset=rf.phase_offset))
        sequence.add_block(spoiler)
        sequence.add_block(pp.make_delay(TR - 6e-3))
    return sequence


def signal(flip, thickness=None, **arguments):
    """Return the last echo, of a slice as thick as it is or as it is found to be excited."""
    model = ImagingModel(
        gradient_echoes,
        slice_phantom(thickness or 5e-3),
        arguments=arguments,
        matrix=(1, 1),
        fov=(0.2, 0.2),
        accuracy=1e-3,
        # Pieces of pulses take a while, and tell nothing here
        simulation={"pulse_relaxation": 1.0},
    )
    with torch.no_grad():
        return abs(complex(model({"flip": torch.tensor(flip)}).signal[-1, 0])), model


@pytest.mark.parametrize("degrees", [10, 30, 60, 85])
def test_nothing_is_excited_beyond_the_slice_that_is_simulated(degrees):
    """What is turned by little is saturated by little, and gives much in a steady state."""
    flip = float(np.deg2rad(degrees))
    found, model = signal(flip)
    thick = 25e-3
    assert model.memory["thickness"] < 0.7 * thick
    # Magnetisation goes with the thickness of the phantom: that of a voxel is per volume
    expected, _ = signal(flip, thickness=thick)
    assert found == pytest.approx(expected * thick / 5e-3, rel=1e-2)


def test_a_slice_is_as_thick_wherever_an_optimization_began():
    _, grown = signal(0.2)
    with torch.no_grad():
        found = grown({"flip": torch.tensor(1.2)}).signal
    _, fresh = signal(1.2)
    assert grown.memory["thickness"] == fresh.memory["thickness"]
    with torch.no_grad():
        expected = fresh({"flip": torch.tensor(1.2)}).signal
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_small_changes_of_the_angle_leave_a_slice_as_thick():
    _, model = signal(0.5)
    simulator = model.simulator
    with torch.no_grad():
        for flip in (0.55, 0.6, 0.3):
            model({"flip": torch.tensor(flip)})
    assert model.simulator is simulator


SAMPLES = np.full(100, 250.0)


def shaped(samples=SAMPLES):
    """Excite a slice by samples [Hz], a tenth of a millisecond each."""
    sequence = pp.Sequence(pulses.SYSTEM)
    rf, gz = pp.make_arbitrary_rf(
        np.repeat(samples, 10),
        0.0,
        no_signal_scaling=True,
        bandwidth=2e3,
        slice_thickness=5e-3,
        return_gz=True,
        system=pulses.SYSTEM,
        use="excitation",
    )
    sequence.add_block(rf, gz)
    sequence.add_block(pp.make_trapezoid("z", area=-gz.area / 2, system=pulses.SYSTEM))
    sequence.add_block(pulses.adc(1))
    return sequence


def test_a_slice_is_as_thick_as_the_shape_of_a_pulse_asks_for():
    """Samples that change make a wider profile of the same strength."""
    smooth = np.hanning(100) * 500
    short = np.zeros(100)
    short[45:55] = smooth.sum() / 10
    model = ImagingModel(shaped, slice_phantom(2e-3), matrix=(1, 1), fov=(0.2, 0.2))
    thickness = []
    with torch.no_grad():
        for share in (0.0, 0.01, 1.0, 0.99):
            model({"samples": torch.from_numpy(share * short + (1 - share) * smooth)})
            thickness.append(model.memory["thickness"])
    assert thickness[0] <= thickness[1]
    assert thickness[2] > 2 * thickness[1]
    # There is a margin for what comes next
    assert thickness[2] == thickness[3]


@pytest.mark.parametrize("share", [1.0, 1e-3])
def test_pulses_that_turn_forth_and_back_excite_no_more_than_they_do(share):
    """On resonance they do nothing, and beside it as much as they are strong."""
    smooth = np.hanning(50) * 500
    plain, both = (
        excited_thickness(convert(shaped(share * samples), pulses="played"))
        for samples in (np.concatenate([smooth, smooth]), np.concatenate([smooth, -smooth]))
    )
    assert both == pytest.approx(plain, rel=0.25)


def test_a_sequence_may_have_more_pulses_than_before():
    def echoes(flip=0.3):
        return gradient_echoes(flip, count=3 if flip < 0.4 else 5)

    model = ImagingModel(echoes, slice_phantom(), matrix=(1, 1), fov=(0.2, 0.2))
    with torch.no_grad():
        counts = [
            len(model({"flip": torch.tensor(flip)}).repetitions.pulse_use) for flip in (0.3, 0.5)
        ]
    assert counts == [3, 5]


def test_an_exported_sequence_excites_as_far(tmp_path):
    """Files round amplitudes: a right angle may be a little more."""
    for degrees in (45.0, 90.0):
        sequence = gradient_echoes(np.deg2rad(degrees), count=3)
        sequence.write(str(tmp_path / "a.seq"))
        traced, imported = (
            excited_thickness(repetitions)
            for repetitions in (
                convert(sequence, pulses="played"),
                imported_repetitions(tmp_path / "a.seq", "played"),
            )
        )
        assert imported == pytest.approx(traced, rel=1e-3)


def test_one_pulse_is_looked_at_as_far_as_it_turns():
    """Single pulses have no saturation: 4 degrees of a right angle are nothing."""
    one, train = (
        excited_thickness(convert(gradient_echoes(np.pi / 2, count=n), pulses="played"))
        for n in (1, 60)
    )
    assert 6e-3 < one < 9e-3
    assert train > 1.2 * one

"""Pulses as they are played, against Bloch's equation and each other."""

from functools import partial

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg import pulse_tables
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from pulseq_zero.simulation.pdg.pulse_families import Family
from pulseq_zero.simulation.simulator import DEFAULT_PULSE_RELAXATION
from support import pulses
from support.pulses import (
    SYSTEM,
    adc,
    after,
    bloch,
    block,
    distance,
    echoes,
    phantom,
    points,
    selective,
)

OFFSETS, FIELDS = np.linspace(-200, 200, 5), np.linspace(0.6, 1.4, 5)


def played(sequence, data, accuracy=1e-4, **options):
    repetitions = convert(sequence, pulses="played")
    return Simulator(data, accuracy, **options)(repetitions).signal[:, 0].numpy()


SINGLE = {
    "hard": pulses.hard,
    "hard, off resonance": pulses.hard_off_resonance,
    "sinc": pulses.sinc,
    "Gauss": pulses.gauss,
    "SLR": pulses.slr,
    "fat saturation": pulses.fat_saturation,
    "fat saturation at 1.5 T": partial(pulses.fat_saturation, 1.5),
    "asymmetric": pulses.asymmetric,
    "spin lock": pulses.spin_lock,
    "adiabatic": pulses.hypsec,
    "MLEV-4": pulses.mlev,
}


@pytest.mark.parametrize("kind", SINGLE)
def test_single_spins_turn_as_bloch_has_it(kind):
    offsets = OFFSETS - 240 if kind == "fat saturation" else OFFSETS
    data, sequence = phantom(B0=offsets, B1=FIELDS), SINGLE[kind]()
    assert distance(played(sequence, data), bloch(sequence, data)) < 1e-3


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize(
    ("bound", "most"), [(DEFAULT_PULSE_RELAXATION, 2e-3), (5e-4, 5e-4)], ids=["default", "tight"]
)
def test_single_spins_relax_as_bloch_has_it(kind, bound, most):
    """Half of the relaxation during short pulses, and pieces of long ones, is before and after."""
    offsets = OFFSETS - 240 if kind == "fat saturation" else OFFSETS
    data, sequence = phantom(B0=offsets, B1=FIELDS, T1=1.0, T2=0.1), SINGLE[kind]()
    found = played(sequence, data, pulse_relaxation=bound)
    error = np.abs(found - bloch(sequence, data)).max() / len(OFFSETS)
    assert error < most


def test_the_pulse_of_shinnar_and_le_roux_is_one():
    inside, outside = (
        abs(bloch(pulses.slr(), phantom(B0=(offset,)))[0]) for offset in (300.0, 2000.0)
    )
    assert inside == pytest.approx(np.sin(2.0), rel=0.02)
    assert outside < 0.02


SLICES = {
    "echoes": (echoes, 1.2e-2),
    "off centre": (pulses.off_centre, 1.4e-2),
    "adiabatic inversion": (pulses.inversion, 1.2e-2),
    "VERSE": (pulses.verse, 1.6e-2),
    "spoiled": (partial(pulses.steady, False), 1e-2),
    "balanced": (partial(pulses.steady, True), 1e-2),
}


@pytest.mark.parametrize("kind", SLICES)
def test_slices_have_the_profile_of_bloch(kind):
    make, thickness = SLICES[kind]
    data, sequence = phantom(thickness, B0=(0.0, 60.0), B1=(1.0, 0.8)), make()
    expected = bloch(sequence, data, spins=1201, step=1e-5)
    assert distance(played(sequence, data), expected) < 1e-3


@pytest.mark.parametrize("balanced", [False, True])
def test_steady_states_have_the_profile_of_bloch(balanced):
    """After five T1: what was there at first is gone, and all that pulses neglect has added up."""
    data = phantom(1e-2, B0=(20.0,), T1=0.06, T2=0.05)
    sequence = pulses.steady(balanced, count=90, sampled=2)
    assert sequence.duration()[0] > 5 * 0.06
    expected = bloch(sequence, data, spins=2401, step=2e-5)
    assert distance(expected[:2], expected[2:]) < 1e-2
    assert distance(played(sequence, data), expected) < 1e-3


def layered(places, values, thickness):
    """Make a voxel of so much magnetisation in each place along z."""
    data = phantom(thickness, B0=np.zeros(len(places)), PD=values)
    data.voxel_pos = torch.zeros(len(places), 3)
    data.voxel_pos[:, 2] = torch.tensor(places)
    return data


def test_each_layer_of_a_volume_sees_its_part_of_the_profile():
    places = [2e-3 * (layer - 2.5) for layer in range(6)]
    data, sequence = layered(places, (1.0, 1.0, 2.0, 2.0, 3.0, 3.0), 2e-3), pulses.off_centre()
    assert distance(played(sequence, data), bloch(sequence, data, spins=301)) < 1e-3


def test_each_slice_answers_its_own_pulse():
    data, sequence = layered((-8e-3, 0.0, 8e-3), (1.0, 2.0, 3.0), 7e-3), pulses.multi_slice()
    found = played(sequence, data)
    assert distance(found, bloch(sequence, data, spins=601, step=1e-5)) < 1e-3
    np.testing.assert_allclose(abs(found) / abs(found[0]), (1, 2, 3), rtol=0.01)


def test_an_oblique_slice_off_the_centre_has_the_profile_of_bloch():
    z = 0.3e-3 * (np.arange(40) - 17)
    data = points(np.stack([0 * z, -np.sin(0.4) * z, np.cos(0.4) * z], 1))
    sequence = pulses.oblique()
    assert distance(played(sequence, data), bloch(sequence, data)) < 1e-3


@pytest.mark.parametrize("angle", [0.4, 1.2])
def test_an_oblique_slice_of_turned_voxels_is_a_straight_one(angle):
    z = 0.3e-3 * (np.arange(40) - 20)
    signals = []
    for turn in (0.0, angle):
        data = points(np.stack([0 * z, -np.sin(turn) * z, np.cos(turn) * z], 1))
        signals.append(played(pulses.oblique(turn=turn, offset=0.0), data))
    assert distance(*signals) < 1e-3


def test_a_readout_along_the_slice_sees_its_profile():
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    readout = pp.make_trapezoid("z", flat_area=600, flat_time=1.6e-3, system=SYSTEM)
    before = pp.make_trapezoid("z", area=-readout.area / 2, system=SYSTEM)
    sequence.add_block(before)
    sequence.add_block(readout, adc(16, delay=readout.rise_time))
    data = phantom(1e-2, B0=(0.0, 40.0))
    assert distance(played(sequence, data), bloch(sequence, data, spins=1201)) < 1e-3


def test_pulses_that_take_no_time_are_rotations():
    sequence = after(block(1.2, duration=2e-6), pp.make_delay(3e-3), block(2.0, duration=2e-6))
    data = phantom(B0=OFFSETS, B1=FIELDS, T1=0.5, T2=0.05, T2dash=0.03)
    at_once = Simulator(data, 1e-4)(convert(sequence)).signal[:, 0].numpy()
    assert distance(played(sequence, data), at_once) < 2e-3


def test_they_need_hardly_more_states_than_rotations():
    data = phantom(8e-3, B0=(0.0, 30.0), B1=(1.0, 0.9), T1=1.0, T2=0.08)
    sequence = echoes()
    played_states = Simulator(data)(convert(sequence, pulses="played")).states
    assert played_states <= 1.5 * Simulator(data)(convert(sequence)).states


def test_both_backends_agree():
    data = phantom(8e-3, B0=(0.0, 30.0), B1=(1.0, 0.8), T1=1.0, T2=0.08, T2dash=0.05, D=2.0)
    precise = played(echoes(), data, dtype=torch.float64, backend=TorchBackend())
    assert distance(played(echoes(), data), precise) < 2e-6


def test_both_backends_agree_where_states_go_on_in_others():
    random = np.random.default_rng(0)
    sequence = pp.Sequence(SYSTEM)
    spoiler = pp.make_trapezoid("z", area=800, duration=2e-3, system=SYSTEM)
    for number in range(30):
        sequence.add_block(block(0.3 + 0.5 * abs(np.sin(number / 8)), duration=5e-4))
        sequence.add_block(adc(2))
        sequence.add_block(spoiler)
        sequence.add_block(pp.make_delay(6e-3 + 1e-5 * random.integers(300)))
    repetitions = convert(sequence, pulses="played")
    signals, slopes = [], []
    data = phantom(2e-3, B0=(0.0, 30.0, -20.0), B1=(1.0, 0.9, 1.1), T1=1.0, T2=0.08, T2dash=0.05)
    graph = Simulator(data, 1e-3).graph(repetitions)
    assert len(graph.hand_over.giver) > 100
    for dtype in (torch.float64, torch.float32):
        data.B0 = data.B0.detach().clone().requires_grad_()
        signal = Simulator(data, 1e-3, dtype=dtype)(repetitions, graph).signal
        (slope,) = torch.autograd.grad(signal.abs().sum(), data.B0)
        signals.append(signal.detach()[:, 0].numpy())
        slopes.append(slope)
    assert distance(signals[1], signals[0]) < 1e-5
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-6)


def three(flips):
    sequence = pp.Sequence(SYSTEM)
    for number in range(3):
        rf, gz, rewinder = selective(flips[number], "excitation")
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(adc())
    return sequence


def counted(monkeypatch):
    """Count how often shapes are composed of their steps."""
    shapes, turned_by = [], pulse_tables.turned_by
    monkeypatch.setattr(
        pulse_tables, "turned_by", lambda *given: (shapes.append(given[0]), turned_by(*given))[1]
    )
    return shapes


def test_a_shape_is_composed_once_however_its_flip_angles_change(monkeypatch):
    shapes, data = counted(monkeypatch), phantom(8e-3)
    model, simulator = SequenceModel(three, pulses="played"), Simulator(data, 1e-4)
    for flips in ([0.3, 0.5, 0.9], [0.31, 0.52, 0.88], [0.33, -0.87, 0.0]):
        kept = simulator(model({"flips": torch.tensor(flips)})).signal
        assert len(shapes) == 1
        torch.testing.assert_close(
            kept,
            Simulator(data, 1e-4)(model({"flips": torch.tensor(flips)})).signal,
            rtol=0,
            atol=0,
        )
        del shapes[1:]


def test_a_shape_is_composed_anew_where_it_or_the_phantom_is_another(monkeypatch):
    shapes = counted(monkeypatch)
    simulator = Simulator(phantom(8e-3), 1e-4)
    for duration, count in ((1e-3, 1), (2e-3, 2), (2e-3, 2)):
        simulator(convert(after(block(0.7, duration=duration)), pulses="played"))
        assert len(shapes) == count
    Simulator(phantom(8e-3, B0=(0.0, 50.0)), 1e-4)(
        convert(after(block(0.7, duration=2e-3)), pulses="played")
    )
    assert len(shapes) == count + 1


# What is refused


def test_positions_of_voxels_are_not_differentiated_by():
    data = phantom(8e-3)
    data.voxel_pos = data.voxel_pos.clone().requires_grad_()
    with pytest.raises(SimulationError, match="voxel_pos"):
        Simulator(data)(convert(echoes(), pulses="played"))


def test_mrzerocore_plays_no_pulses():
    with pytest.raises(SimulationError, match="instantaneous"):
        Simulator(phantom(), engine="mrzero")(convert(echoes(), pulses="played"))


def test_stored_repetitions_play_the_same_pulses():
    repetitions = convert(echoes(), pulses="played")
    again = type(repetitions).from_tensors(*repetitions.to_tensors())
    one, other = (Simulator(phantom(8e-3))(each).signal for each in (repetitions, again))
    assert torch.equal(one, other)


def test_a_long_pulse_is_composed_part_by_part(monkeypatch):
    """What would not fit into the memory at once; turned off its axis by gradient and offset."""
    sequence, data = pp.Sequence(SYSTEM), phantom(8e-3, B0=(40.0,))
    rf, gz, rewinder = selective(0.7, "excitation")
    for event in ((rf, gz), (rewinder,), (adc(),)):
        sequence.add_block(*event)
    at_once = played(sequence, data, dtype=torch.float64)
    monkeypatch.setattr(pulse_tables, "_AT_ONCE", 1)
    torch.testing.assert_close(played(sequence, data, dtype=torch.float64), at_once)


@pytest.mark.parametrize("gradient", [(0.0, 0.0, 0.0), (2e5, 0.0, 4e5), "changing"])
def test_few_frequencies_tell_what_a_pulse_does_everywhere_under_a_constant_gradient(gradient):
    generator = torch.Generator().manual_seed(0)
    time = 1e-5 * (1 + torch.rand(120, generator=generator, dtype=torch.float64))
    steps = torch.linspace(-1, 1, 120, dtype=torch.float64)
    changing = gradient == "changing"
    direction = torch.tensor((2e5, 0.0, 4e5) if changing else gradient, dtype=torch.float64)
    moment = (time * (1 + steps.square() if changing else 1))[:, None] * direction
    # Chirped, so that both parts of a and b matter
    signal = torch.polar(300 * torch.cos(steps), 9 * steps.square())
    family = Family(signal, time, moment, 0.6 * time.sum(), [0], torch.ones(1))
    place = 1e-2 * torch.rand(60, 3, generator=generator, dtype=torch.float64)
    strength, offset = (
        torch.linspace(*ends, 4, dtype=torch.float64) for ends in ((-2, 2), (-300, 150))
    )
    found = pulse_tables.turned_everywhere(family, strength, place, offset)
    expected = pulse_tables.turned_by(family, strength, place, offset)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)

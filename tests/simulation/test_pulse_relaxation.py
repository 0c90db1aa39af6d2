"""Relaxation during played pulses: those for which it matters are cut into pieces."""

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg.cut_pulses import cut_pulses
from pulseq_zero.simulation.pdg.pulse_relaxation import MeanTissue, pieces_of
from pulseq_zero.simulation.simulator import DEFAULT_PULSE_RELAXATION
from support import pulses, sequences
from support.engines import with_hard_pulses
from support.measures import relative_error
from support.pulses import bloch, block, distance, phantom

OFFSETS, FIELDS = (-100.0, 0.0, 60.0, 150.0), (0.7, 1.0, 1.2, 0.9)
LONG = {"spin lock": pulses.spin_lock, "MLEV-4": pulses.mlev, "hypsec": pulses.hypsec}


def tissue(T2=0.05):
    return phantom(B0=OFFSETS, B1=FIELDS, T1=1.0, T2=T2)


def simulated(sequence, data, **options):
    return Simulator(data, 1e-4, **options)(convert(sequence, pulses="played")).signal[:, 0].numpy()


@pytest.mark.parametrize("kind", LONG)
def test_long_pulses_relax_as_bloch_has_it(kind):
    data, sequence = tissue(), LONG[kind]()
    expected = bloch(sequence, data)
    # Of the magnetisation of all voxels
    whole, cut = (
        np.abs(simulated(sequence, data, **given) - expected).max() / len(OFFSETS)
        for given in ({"pulse_relaxation": 1.0}, {})
    )
    assert cut < 1e-3
    assert whole > 2e-3


def test_a_selective_inversion_relaxes_as_bloch_has_it():
    data = phantom(1.2e-2, B0=(0.0, 60.0), B1=(1.0, 0.8), T1=1.0, T2=0.05)
    sequence = pulses.inversion()
    expected = bloch(sequence, data, spins=801, step=1e-5)
    # Of the signal, of which the inversion leaves a tenth
    whole, cut = (
        distance(simulated(sequence, data, **given), expected)
        for given in ({"pulse_relaxation": 1.0}, {})
    )
    assert cut < 1e-3
    assert whole > 0.1


def whole_and_cut(sequence, pieces):
    repetitions = convert(sequence, pulses="played")
    return repetitions, cut_pulses(repetitions, [pieces] * len(repetitions.played.step_count))


@pytest.mark.parametrize("make", [pulses.mlev, pulses.verse, pulses.off_centre, pulses.echoes])
def test_pieces_are_the_pulse_where_nothing_relaxes(make):
    data = phantom(8e-3, B0=(0.0, 40.0), B1=(1.0, 0.8))
    one, other = whole_and_cut(make(), 5)
    assert len(other.event_count) == 5 * len(one.event_count)
    found = [Simulator(data, 1e-5)(each).signal[:, 0].numpy() for each in (one, other)]
    assert distance(found[1], found[0]) < 2e-4


@pytest.mark.parametrize("make", [pulses.mlev, pulses.verse, pulses.echoes])
def test_pieces_take_no_time_or_moment_away(make):
    one, other = whole_and_cut(make(), 4)
    place = [each.event_time.cumsum(0)[each.is_sample].diff() for each in (one, other)]
    torch.testing.assert_close(*place, rtol=1e-9, atol=1e-12)
    k = [each.gradient_moment.cumsum(0)[each.is_sample].diff(dim=0) for each in (one, other)]
    torch.testing.assert_close(*k, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("name", ["tse", "epi_ir"])
def test_pulses_of_the_pipeline_stay_whole(name, request):
    """The brain's relaxation during them is little of the magnetisation."""
    repetitions = convert(request.getfixturevalue(name)(), pulses="played")
    mean = MeanTissue.of(phantom(T1=0.9, T2=0.1))
    assert set(pieces_of(repetitions, mean, DEFAULT_PULSE_RELAXATION)) == {1}


def pieces_of_train(use, count):
    """Cut a pulse that is played so many times in T1, and neglects a 3000th each time."""
    sequence = pp.Sequence(pulses.SYSTEM)
    for _ in range(count):
        sequence.add_block(block(0.5, duration=1e-3, use=use))
        sequence.add_block(pulses.adc(1))
        sequence.add_block(pp.make_delay(1.0 / count - 2e-3))
    mean = MeanTissue.of(phantom(T1=1.0, T2=0.05))
    (pieces,) = set(pieces_of(convert(sequence, pulses="played"), mean, 6e-3))
    return pieces


def test_what_pulses_neglect_adds_up_in_a_steady_state():
    assert pieces_of_train("excitation", 3) == 1
    assert pieces_of_train("excitation", 100) > 1
    assert pieces_of_train("refocusing", 100) == 1


def gradient_echoes(angle, *, increment, spoiler, count=60, TR=0.05):
    """Play pulses of 2 ms under a slice gradient, whose phase grows quadratically."""
    rf, gz, rewinder = pulses.selective(angle, "excitation", duration=2e-3)
    spoil = rewinder
    if spoiler:
        spoil = pp.make_trapezoid("z", area=spoiler, duration=2e-3, system=pulses.SYSTEM)
    sequence = pp.Sequence(pulses.SYSTEM)
    for number in range(count):
        rf.phase_offset = np.deg2rad(increment) * number * (number + 1) / 2 % (2 * np.pi)
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(pulses.adc(1, phase_offset=rf.phase_offset))
        sequence.add_block(spoil)
        sequence.add_block(pp.make_delay(TR - 7e-3))
    return sequence


@pytest.mark.parametrize(
    ("angle", "increment", "spoiler", "stays_whole"),
    [
        (1.0, 117, 800.0, True),
        (0.3, 117, 800.0, True),
        (1.0, 0, 800.0, False),
        (1.0, 180, 800.0, False),
        (1.0, 117, 0.0, False),
    ],
    ids=["spoiled", "spoiled, small angle", "no RF spoiling", "alternating", "no gradient"],
)
def test_a_spoiled_train_forgets_by_its_pulses(angle, increment, spoiler, stays_whole):
    """Where transverse magnetisation comes back, all that is played in T1 is remembered."""
    mean = MeanTissue.of(phantom(1e-2, B0=(0.0,), T1=1.0, T2=0.1))
    train = gradient_echoes(angle, increment=increment, spoiler=spoiler)
    (pieces,) = set(pieces_of(convert(train, pulses="played"), mean, DEFAULT_PULSE_RELAXATION))
    assert (pieces == 1) == stays_whole


@pytest.mark.parametrize("angle", [0.3, 0.6, 1.0])
def test_spoiled_trains_that_stay_whole_are_within_the_bound(angle):
    data = phantom(1e-2, B0=(0.0,), T1=1.0, T2=0.1)
    sequence = gradient_echoes(angle, increment=117, spoiler=800.0)
    repetitions, mean = convert(sequence, pulses="played"), MeanTissue.of(data)
    # What it takes to stay whole is what the pulses are thought to neglect
    low, high = 1e-5, 1.0
    while high > 1.05 * low:
        middle = (low * high) ** 0.5
        whole = set(pieces_of(repetitions, mean, middle)) == {1}
        low, high = (low, middle) if whole else (middle, high)
    expected = bloch(sequence, data, spins=2401, step=2e-5)[-10:]
    found = simulated(sequence, data, pulse_relaxation=1.0)[-10:]
    assert distance(found, expected) < high
    assert high < DEFAULT_PULSE_RELAXATION


def test_what_pieces_leave_is_said():
    """A long strong lock has more turns than pieces."""
    sequence = pulses.after(block(2 * np.pi * 4e3 * 0.1, duration=0.1, use="preparation"))
    with pytest.warns(UserWarning, match="relaxation during a pulse of 100 ms"):
        simulated(sequence, phantom(T1=1.0, T2=0.05))


def test_a_graph_says_how_pulses_are_cut():
    """As for a derivative by T2: the pieces of one phantom are those of the other, too."""
    repetitions = convert(pulses.hypsec(), pulses="played")
    short, long = (Simulator(tissue(T2), 1e-4) for T2 in (0.02, 10.0))
    graph = short.graph(repetitions)
    assert graph.pieces[0] > 1
    assert long.graph(repetitions).pieces == ()
    one, other = (long(repetitions, each).signal for each in (graph, None))
    assert distance(one.numpy(), other.numpy()) < 3e-3
    with pytest.raises(SimulationError, match="make it of this sequence"):
        long(convert(pulses.hard(), pulses="played"), graph)


def test_the_magnetisation_of_a_repetition_is_that_of_the_whole_sequence():
    repetitions = convert(pulses.hypsec(), pulses="played")
    simulator = Simulator(tissue(), 1e-4)
    last = len(repetitions.event_count) - 1
    found = simulator.magnetisation(repetitions, last).sum(1)
    torch.testing.assert_close(found, simulator(repetitions).signal[:, 0])


def test_the_jacobian_has_relaxation_during_pulses():
    repetitions = convert(pulses.spin_lock(), pulses="played")
    found = Simulator(tissue(), 1e-4).jacobian(repetitions, wrt=("T2",))[:, 0, 0].sum(-1)
    up, down = (
        Simulator(tissue(0.05 + way), 1e-4, dtype=torch.float64)(repetitions).signal[:, 0]
        for way in (1e-4, -1e-4)
    )
    torch.testing.assert_close(found, (up - down) / 2e-4, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("make", [pulses.spin_lock, pulses.inversion])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_through_pieces_are_finite_differences(make, dtype):
    model = SequenceModel(make, pulses="played")
    data = phantom(1e-2, B0=(0.0, 40.0), B1=(1.0, 0.8), T1=1.0, T2=0.05)
    data.T2 = data.T2.double().requires_grad_()
    # Few pieces are as good as many
    simulator = Simulator(data, 1e-4, dtype=dtype, pulse_relaxation=4e-2)
    exact = Simulator(data, 1e-4, dtype=torch.float64)
    weight = torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=torch.complex128)

    def loss(scale, simulator, graph=None):
        signal = simulator(model({"scale": scale}), graph).signal[:, 0]
        return (weight * signal.to(torch.complex128)).real.sum()

    scale = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    graph = simulator.graph(model({"scale": scale}))
    assert max(graph.pieces) > 4
    slope, by_T2 = torch.autograd.grad(loss(scale, simulator, graph), [scale, data.T2])
    with torch.no_grad():
        up, down = (
            float(loss(torch.tensor(0.9 + way, dtype=torch.float64), exact, graph))
            for way in (1e-5, -1e-5)
        )
        ends = []
        for way in (1e-5, -1e-5):
            changed = phantom(1e-2, B0=(0.0, 40.0), B1=(1.0, 0.8), T1=1.0, T2=0.05 + way)
            ends.append(float(loss(scale, Simulator(changed, 1e-4, dtype=torch.float64), graph)))
    assert float(slope) == pytest.approx((up - down) / 2e-5, rel=2e-3, abs=1e-4)
    assert float(by_T2.sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-3, abs=1e-4)


def test_an_impossible_bound_is_refused():
    with pytest.raises(SimulationError, match="pulse_relaxation is 0, but must be above 0"):
        Simulator(tissue(), pulse_relaxation=0)


def test_pieces_of_one_step_are_played():
    sequence = with_hard_pulses(sequences.turbo_spin_echo(4, off_echo=0.0), duration=1e-3)
    data = sequences.phantom(4)
    whole, cut = (
        Simulator(data, 1e-3, pulse_relaxation=bound)(sequence).signal for bound in (1.0, 1e-6)
    )
    assert 1e-4 < relative_error(cut, whole) < 0.05

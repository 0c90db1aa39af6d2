"""A graph serves while flip angles change by little, and what it leaves out stays small."""

import math
from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg.leeway import change_of_flip_angles
from support.engines import with_hard_pulses
from support.measures import distance
from support.phase_graph import phase_graph_signal
from support.random_phantoms import DISTRIBUTIONS, random_phantom
from support.random_sequences import KINDS
from support.sequences import phantom, turbo_spin_echo

# As of a graph that is made anew, see `test_error_is_accuracy`
ALLOWED = 3


def differentiated(repetitions, angle=None):
    angle = repetitions.pulse_angle if angle is None else angle
    return replace(repetitions, pulse_angle=angle.detach().clone().requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_as_far_as_the_leeway_goes_the_error_is_the_accuracy(kind):
    """In random directions and in that of all angles; half of them from exactly 0, π/2 and π."""
    wrong, covered = {}, 0
    for seed in range(6):
        rng = np.random.default_rng([seed, list(KINDS).index(kind), 7])
        sequence = KINDS[kind](rng, "special" if seed % 2 else "anywhere")
        data = random_phantom(rng, DISTRIBUTIONS[seed % len(DISTRIBUTIONS)])
        angle = sequence.pulse_angle
        for direction in (rng.standard_normal(len(angle)), np.ones(len(angle))):
            for accuracy in (1e-2, 1e-3, 1e-4):
                simulator = Simulator(data, accuracy)
                graph = simulator.graph(differentiated(sequence))
                change = furthest(graph.leeway, direction)
                covered += bool(change.any())
                other = replace(sequence, pulse_angle=angle + torch.from_numpy(change))
                reference = phase_graph_signal(other, data)
                # A signal that vanishes by design is compared with the rounding of what may be
                rounding = 1e-6 * float(data.PD.sum()) * math.sqrt(np.size(reference))
                size = max(accuracy * float(np.linalg.norm(reference)), rounding)
                error = distance(simulator(other, graph=graph).signal, reference) / size
                if not error < ALLOWED:
                    wrong[seed, accuracy] = round(error, 1)
    assert not wrong, f"(seed, accuracy): error in accuracies {wrong}"
    assert covered > 18


def furthest(leeway, direction):
    """Return the largest change along a direction that a leeway covers."""
    inside, outside = 0.0, 1.0
    for _ in range(20):
        middle = 0.5 * (inside + outside)
        if leeway.covers(middle * direction):
            inside = middle
        else:
            outside = middle
    return inside * direction


@pytest.mark.parametrize(("rate", "most"), [(0.0065, 0.5), (0.02, 0.8), (0.05, 1.0)])
def test_along_an_optimization(rate, most):
    """The flip angles of a TSE, by Adam, from 180 degrees to less power."""
    repetitions, data, steps = turbo_spin_echo(16, 180.0), phantom(12), 24
    accuracy = 1e-3
    angle = repetitions.pulse_angle.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([angle], lr=rate)
    simulator = Simulator(data, accuracy)
    target = simulator(repetitions).signal.abs()
    graphs, errors = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        result = simulator(replace(repetitions, pulse_angle=angle))
        made_of = simulator.graph_made_of
        if not any(made_of is each for each in graphs):
            graphs.append(made_of)
        loss = (result.signal.abs() - target).square().sum() / target.square().sum()
        (loss + 1e-2 * angle.square().sum()).backward()
        errors.append(result.error.neglected_states)
        optimizer.step()
    assert max(errors) < accuracy
    assert len(graphs) <= most * steps


def test_a_large_change_makes_it_anew():
    repetitions, simulator = turbo_spin_echo(12, 150.0), Simulator(phantom(10), 1e-3)
    graph = simulator.graph(differentiated(repetitions))
    angle = repetitions.pulse_angle.clone()
    angle[5] += 0.01
    assert simulator.graph(differentiated(repetitions, angle)) is graph
    angle[5] += 1.0
    anew = simulator.graph(differentiated(repetitions, angle))
    assert anew is not graph
    fresh = Simulator(phantom(10), 1e-3).graph(differentiated(repetitions, angle))
    assert anew.same_structure(fresh)


def test_small_steps_add_up():
    """What counts is how far the angles are from where the graph was made."""
    repetitions, simulator = turbo_spin_echo(12, 150.0), Simulator(phantom(10), 1e-3)
    graph = simulator.graph(differentiated(repetitions))
    steps = 0.01 * np.arange(1, 101)
    kept = [
        simulator.graph(differentiated(repetitions, repetitions.pulse_angle + step)) is graph
        for step in steps
    ]
    assert kept[0]
    assert not any(kept[50:])


def test_what_is_not_differentiated_does_not_depend_on_what_was_before():
    repetitions, simulator = turbo_spin_echo(12, 150.0), Simulator(phantom(10), 1e-3)
    simulator(differentiated(repetitions))
    other = replace(repetitions, pulse_angle=repetitions.pulse_angle + 1e-3)
    fresh = Simulator(phantom(10), 1e-3)(other).signal
    assert torch.equal(simulator(other).signal, fresh)
    assert simulator.graph_made_of is None


def test_changes_of_the_flip_angle():
    before = turbo_spin_echo(4, 150.0)
    change = 0.01 * np.arange(len(before.pulse_angle))
    angle = before.pulse_angle + torch.from_numpy(change).float()
    after = replace(before, pulse_angle=angle)
    for one, other in ((before, after), (with_hard_pulses(before), with_hard_pulses(after))):
        np.testing.assert_allclose(change_of_flip_angles(one, other), change, atol=1e-6)
    # Backwards through zero
    turned = replace(before, pulse_angle=0.1 * angle, pulse_phase=before.pulse_phase + math.pi)
    expected = -(0.1 * angle + before.pulse_angle).numpy()
    np.testing.assert_allclose(change_of_flip_angles(before, turned), expected, atol=1e-5)


def test_other_changes_make_it_anew():
    before = turbo_spin_echo(4, 150.0)
    turned = replace(before, pulse_phase=before.pulse_phase + 1e-3)
    assert change_of_flip_angles(before, turned) is None
    assert change_of_flip_angles(before, with_hard_pulses(before)) is None
    played = with_hard_pulses(before)
    signal = played.played.signal.clone()
    signal[5] *= 1.01
    for change in (
        {"signal": signal},
        {"signal": 1j * played.played.signal},
        {"time": 1.01 * played.played.time},
        {"phase": played.played.phase + 1e-3},
    ):
        other = replace(played, played=replace(played.played, **change))
        assert change_of_flip_angles(played, other) is None


def test_played_pulses_of_little_other_flip_angles():
    def echoes(flip=2.5):
        system = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s")
        sequence = pp.Sequence(system)
        crusher = pp.make_trapezoid("z", area=500, duration=2e-3, system=system)
        for number in range(6):
            angle = flip if number else np.pi / 2
            use = "refocusing" if number else "excitation"
            pulse, gradient, _ = pp.make_sinc_pulse(
                angle, duration=2e-3, slice_thickness=5e-3, return_gz=True, use=use, system=system
            )
            sequence.add_block(pulse, gradient)
            sequence.add_block(crusher)
            sequence.add_block(pp.make_adc(4, duration=4e-4))
            sequence.add_block(crusher)
        return sequence

    data, model = phantom(6), SequenceModel(echoes, pulses="played")
    simulator = Simulator(data, 1e-3, pulse_relaxation=1.0)

    def simulated(flip):
        result = simulator(model({"flip": torch.tensor(flip, requires_grad=True)}))
        assert result.error.neglected_states < 1e-3
        return simulator.graph_made_of

    first = simulated(2.5)
    assert simulated(2.51) is first
    assert simulated(3.0) is not first

"""Interpolation between nodes of the fields, against the same voxels each on its own.

Voxels whose T1 differs ever so slightly are of different tissues: none of them is interpolated.
"""

import dataclasses

import numpy as np
import pytest
import torch

from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg import encoded_nodes
from pulseq_zero.simulation.pdg.nodes import Interpolation
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support import sequences
from support.engines import with_hard_pulses
from support.measures import relative_error
from support.random_phantoms import changed

ACCURACY = 1e-4
# Gradients by noise as a loss have less of it than what they are sums of
OF_GRADIENTS = 3 * ACCURACY
ROUNDING = 3e-5
TISSUES = 3


def tissues(coils=1, B1_phase=0.0, layers=1):
    """Make a disc of three tissues in smooth fields, in one or two slices."""
    data = sequences.phantom(40, coils=coils)
    x, y, _ = data.voxel_pos.T / sequences.FOV
    kind = ((5 * x).floor() + (7 * y).floor()).long() % TISSUES
    maps = {
        "T1": torch.tensor([0.8, 1.4, 3.0])[kind],
        "T2": torch.tensor([0.07, 0.09, 0.8])[kind],
        "T2dash": torch.tensor([0.05, 0.06, 0.2])[kind],
        "D": torch.tensor([0.7, 0.9, 3.0])[kind],
        "B0": 40 * (x - y) + 20 * x * y,
        "B1": torch.polar(1.1 - 0.9 * (x**2 + y**2), B1_phase * (x + 2 * y))[None],
    }
    place = data.voxel_pos.clone()
    place[:, 2] = 2e-3 * (torch.arange(len(place)) % layers)
    return changed(data, voxel_pos=place, **maps)


def apart(data):
    """Let no two voxels share a tissue, by changes of T1 that float32 just knows."""
    count = len(data.T1)
    return changed(data, T1=data.T1 * (1 + 2e-7 * (torch.arange(count) - count / 2)))


def simulated(sequence, by, data, **options):
    """Return the signal, its gradient by a tensor of the sequence, and the nodes."""
    # Pieces of pulses would be more nodes
    simulator = Simulator(data, ACCURACY, pulse_relaxation=1.0, **options)
    signal = simulator(sequence).signal
    weight = torch.randn(signal.shape, dtype=signal.dtype, generator=torch.manual_seed(0))
    gradient = torch.autograd.grad((signal * weight).real.sum(), by, retain_graph=True)[0]
    return signal.detach(), gradient, nodes_of(simulator)


def nodes_of(simulator):
    """Return the nodes that a simulator came to use last; None if it found no gain in any."""
    known = simulator._sampler._interpolated[2]
    found = [nodes for nodes in known._known.values() if nodes] if len(known.tissues) < 33 else []
    return found[-1] if found else None


def at_once():
    """Make a turbo spin echo, and its angles that are differentiated by."""
    sequence = sequences.turbo_spin_echo(32, off_echo=0.0)
    angle = sequence.pulse_angle.clone().requires_grad_()
    return dataclasses.replace(sequence, pulse_angle=angle), angle


def as_played():
    """Make one of pulses that take a while, and the strength of each sample."""
    sequence = with_hard_pulses(sequences.turbo_spin_echo(32, off_echo=0.0), duration=1e-3)
    signal = sequence.played.signal.clone().requires_grad_()
    played = dataclasses.replace(sequence.played, signal=signal)
    return dataclasses.replace(sequence, played=played), signal


@pytest.mark.parametrize("make", [at_once, as_played])
@pytest.mark.parametrize("backend", [None, TorchBackend()], ids=["compiled", "torch"])
@pytest.mark.parametrize(
    "options", [{}, {"coils": 2, "B1_phase": 1.5}, {"layers": 2}], ids=["plain", "coils", "layers"]
)
def test_nodes_give_the_signal_and_gradients_of_all_voxels(make, backend, options):
    data = tissues(**options)
    signal, gradient, nodes = simulated(*make(), data, backend=backend)
    expected, slope, none = simulated(*make(), apart(data), backend=backend)
    assert none is None
    assert nodes is not None and len(nodes.voxels) < len(data.PD) / 2
    assert relative_error(signal, expected) < ACCURACY
    assert relative_error(gradient, slope) < OF_GRADIENTS


def handing_over():
    """Make a train of intervals that are all different, in which states go on in others."""
    sequence = sequences.fingerprinting(24)
    angle = sequence.pulse_angle.clone().requires_grad_()
    return dataclasses.replace(sequence, pulse_angle=angle), angle


def handing_over_as_played():
    """Make one of pulses that take a while."""
    sequence = with_hard_pulses(sequences.fingerprinting(24), duration=1e-3)
    signal = sequence.played.signal.clone().requires_grad_()
    return dataclasses.replace(
        sequence, played=dataclasses.replace(sequence.played, signal=signal)
    ), signal


@pytest.mark.parametrize("make", [handing_over, handing_over_as_played])
@pytest.mark.parametrize("backend", [None, TorchBackend()], ids=["compiled", "torch"])
@pytest.mark.parametrize("options", [{}, {"coils": 2, "B1_phase": 1.5}], ids=["plain", "coils"])
def test_nodes_hand_over_as_voxels_do(make, backend, options):
    """What is handed over turns by B0, of which there are nodes then, pulses at once or not."""
    data, accuracy = tissues(**options), 1e-3
    graph = Simulator(data, accuracy, pulse_relaxation=1.0).graph(make()[0])
    assert len(graph.hand_over.giver) > 1000
    assert np.abs(graph.hand_over.shift).max() > 5e-3
    found = []
    for phantom in (data, apart(data)):
        sequence, by = make()
        simulator = Simulator(phantom, accuracy, backend=backend, pulse_relaxation=1.0)
        signal = simulator(sequence, graph).signal
        weight = torch.randn(signal.shape, dtype=signal.dtype, generator=torch.manual_seed(0))
        (slope,) = torch.autograd.grad((signal * weight).real.sum(), by)
        found.append((signal.detach(), slope, simulator))
    (signal, slope, simulator), (expected, its_slope, each) = found
    assert simulator._sampler._counted[2][1] > 1
    assert each._sampler._counted is None
    assert relative_error(signal, expected) < accuracy
    assert relative_error(slope, its_slope) < 3 * accuracy


def test_nodes_are_as_many_as_the_fields_ask_for():
    sequence = sequences.turbo_spin_echo(32, off_echo=0.0)
    counts = []
    for spread in (0.05, 0.9):
        data = tissues()
        x, y, _ = data.voxel_pos.T / sequences.FOV
        data = changed(data, B1=(1.1 - spread * (x**2 + y**2) + 0j)[None])
        simulator = Simulator(data, ACCURACY)
        simulator(sequence)
        counts.append(len(nodes_of(simulator).voxels))
    assert counts[0] < counts[1]


def test_voxels_of_a_tissue_of_few_are_their_own_nodes():
    data = tissues()
    T1 = data.T1.clone()
    T1[:5] = torch.linspace(0.3, 0.5, 5)
    data, sequence = changed(data, T1=T1), sequences.turbo_spin_echo(32, off_echo=0.0)
    simulator = Simulator(data, ACCURACY)
    signal = simulator(sequence).signal
    groups = nodes_of(simulator).groups
    assert sum(group.is_own for group in groups) == 5
    assert relative_error(signal, Simulator(apart(data), ACCURACY)(sequence).signal) < ACCURACY


@pytest.mark.parametrize("name", ["event_time", "gradient_moment"])
def test_gradients_by_positions_are_those_of_all_voxels(name):
    sequence, data = sequences.turbo_spin_echo(16, off_echo=0.0), tissues()
    gradients = []
    for phantom in (data, apart(data)):
        leaf = getattr(sequence, name).clone().requires_grad_()
        signal = Simulator(phantom, ACCURACY)(dataclasses.replace(sequence, **{name: leaf})).signal
        gradients.append(torch.autograd.grad(signal.abs().square().sum(), leaf)[0])
    assert relative_error(*gradients) < OF_GRADIENTS


def test_gradients_by_angles_are_finite_differences():
    sequence, data = sequences.turbo_spin_echo(16, off_echo=0.0), tissues()
    simulator = Simulator(data, ACCURACY, dtype=torch.float64, backend=TorchBackend())
    rng = np.random.default_rng(0)
    way = torch.from_numpy(rng.standard_normal(len(sequence.pulse_angle)))
    graph = simulator.graph(
        dataclasses.replace(sequence, pulse_angle=sequence.pulse_angle.clone().requires_grad_())
    )

    def loss(angle):
        found = simulator(dataclasses.replace(sequence, pulse_angle=angle), graph)
        return found.signal.abs().square().sum()

    angle = sequence.pulse_angle.double().clone().requires_grad_()
    slope = torch.autograd.grad(loss(angle), angle)[0] @ way
    step = 1e-5
    with torch.no_grad():
        change = loss(angle + step * way) - loss(angle - step * way)
    assert float(slope) == pytest.approx(float(change) / (2 * step), rel=1e-5)


def test_a_changed_phantom_is_interpolated_anew():
    sequence, data = sequences.turbo_spin_echo(16, off_echo=0.0), tissues()
    simulator = Simulator(data, ACCURACY)
    simulator(sequence)
    data.B1 = 0.8 * data.B1
    assert (
        relative_error(simulator(sequence).signal, Simulator(data, ACCURACY)(sequence).signal)
        < 1e-6
    )


def test_nodes_do_not_depend_on_what_was_simulated_before():
    data, first = tissues(), sequences.turbo_spin_echo(32, off_echo=0.0)
    other = dataclasses.replace(first, pulse_angle=0.3 * first.pulse_angle)
    simulator = Simulator(data, ACCURACY)
    for sequence in (other, first, other):
        signal = simulator(sequence).signal
    assert torch.equal(signal, Simulator(data, ACCURACY)(other).signal)


def test_nodes_keep_to_the_memory():
    data, sequence = tissues(), sequences.turbo_spin_echo(32, off_echo=0.0)
    simulator = Simulator(data, ACCURACY, memory=2**20)
    voxels = Simulator(data, ACCURACY)._phantom.voxels(None)
    # Of 8 kB there is no place for matrices of some nodes and hundreds of voxels
    assert Interpolation(voxels, None, ACCURACY, 2**13).nodes((8, 1)) is None
    assert Interpolation(voxels, None, ACCURACY, 2**20).nodes((8, 1)) is not None
    assert Interpolation(voxels, None, ACCURACY, 2**20).nodes((8, 1), items=10**5) is None
    little = simulator(sequence).signal
    assert relative_error(little, Simulator(data, ACCURACY)(sequence).signal) < ACCURACY


def test_nodes_that_are_encoded_once_give_what_voxels_give(monkeypatch):
    data = tissues(coils=2, B1_phase=1.5, layers=2)
    signal, gradient, _ = simulated(*as_played(), data)
    monkeypatch.setattr(encoded_nodes, "_MOST_WORK", 0)
    expected, slope, nodes = simulated(*as_played(), data)
    assert nodes is not None
    assert relative_error(signal, expected) < ROUNDING
    assert relative_error(gradient, slope) < ROUNDING


def test_what_is_encoded_serves_other_flip_angles_and_other_numbers_of_nodes(monkeypatch):
    made = []
    anchor = encoded_nodes.NodeEncodings._anchor
    monkeypatch.setattr(
        encoded_nodes.NodeEncodings, "_anchor", lambda *given: made.append(1) or anchor(*given)
    )
    sequence, angle = at_once()
    simulator, counts = Simulator(tissues(), ACCURACY), set()
    for scale in (1.0, 0.999, 0.9, 0.8):
        strength = (scale * angle.detach()).requires_grad_()
        changed_angles = dataclasses.replace(sequence, pulse_angle=strength)
        signal = simulator(changed_angles).signal
        counts.add(len(nodes_of(simulator).voxels))
        with torch.no_grad():
            expected = Simulator(tissues(), 0.1 * ACCURACY)(changed_angles).signal
        assert relative_error(signal, expected) < 2 * ACCURACY
        if scale == 1.0:
            first = len(made)
    assert first > 0
    assert len(counts) > 1
    assert len(made) == first


def test_encoded_nodes_depend_on_nothing_but_the_sequence():
    sequence, angle = at_once()
    simulator = Simulator(tissues(), ACCURACY)
    for scale in (0.6, 1.0):
        strength = (scale * angle.detach()).requires_grad_()
        signal = simulator(dataclasses.replace(sequence, pulse_angle=strength)).signal
    assert torch.equal(signal, Simulator(tissues(), ACCURACY)(at_once()[0]).signal)

"""Gradients: of the maps against MRzeroCore, of everything against finite differences."""

import dataclasses

import numpy as np
import pytest
import torch

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import Simulator, Thresholds
from pulseq_zero.simulation.compiled.backend import CompiledBackend
from pulseq_zero.simulation.mrzero import compute_graph, rotation_table
from pulseq_zero.simulation.pdg import kept_graph
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.prepass import make_graph
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.sequences import CASES, fingerprinting, phantom, with_one_history

MAPS = ("PD", "T1", "T2", "T2dash", "D", "B0", "B1")
INPUTS = ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase")
THRESHOLDS = Thresholds(min_emitted_signal=1e-3, min_latent_signal=1e-3)


def difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    return float((value - reference).abs().double().norm() / reference.abs().double().norm())


def loss_of(signal: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(signal.shape, dtype=torch.complex128, generator=generator)
    return (signal * weight).real.sum() + signal.abs().square().sum() / 10


def map_gradients(data, repetitions, graph, **options) -> dict:
    maps = {name: getattr(data, name).clone().requires_grad_() for name in MAPS}
    for name, values in maps.items():
        setattr(data, name, values)
    loss = loss_of(Simulator(data, thresholds=THRESHOLDS, **options)(repetitions, graph).signal)
    gradients = torch.autograd.grad(loss, list(maps.values()))
    for name, values in maps.items():
        setattr(data, name, values.detach())
    return dict(zip(MAPS, gradients, strict=True))


def doubled_edges(graph: StateGraph) -> StateGraph:
    """Let every third edge count twice: states with several ancestors of one kind are rare."""
    times = 1 + (np.arange(len(graph.kind)) % 3 == 0)
    into = np.add.reduceat(np.append(times, 0), graph.first_edge[:-1]) * (
        np.diff(graph.first_edge) > 0
    )
    return dataclasses.replace(
        graph,
        first_edge=np.concatenate([[0], np.cumsum(into)]),
        kind=np.repeat(graph.kind, times),
        source=np.repeat(graph.source, times),
    )


@pytest.mark.parametrize("backend", [CompiledBackend, TorchBackend])
@pytest.mark.parametrize("sequence", ["tse", "bssfp", "spiral"])
def test_maps(sequence, backend):
    repetitions = CASES[sequence](10)
    data = phantom(12, coils=2, complex_b1=True, shape="box")
    graph = compute_graph(repetitions, data, THRESHOLDS, rotation_table(data))
    actual = map_gradients(data, repetitions, graph, backend=backend())
    expected = map_gradients(data, repetitions, graph, engine="mrzero")
    for name in MAPS:
        # MRzeroCore's gradient of D is the difference of large numbers in float32.
        tolerance = 1e-2 if name == "D" else 1e-4
        assert difference(actual[name], expected[name]) < tolerance, name


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("sequence", CASES)
def test_backends_agree(sequence, doubled, monkeypatch):
    data = phantom(12, coils=2, complex_b1=True, shape="box")
    if doubled:
        monkeypatch.setattr(
            kept_graph,
            "make_graph",
            lambda *given, **options: doubled_edges(make_graph(*given, **options)),
        )
    found = []
    for backend in (TorchBackend(), CompiledBackend()):
        leaves = {n: getattr(CASES[sequence](10), n).requires_grad_() for n in INPUTS}
        repetitions = dataclasses.replace(CASES[sequence](10), **leaves)
        signal = Simulator(data, backend=backend)(repetitions).signal
        gradients = torch.autograd.grad(loss_of(signal), list(leaves.values()))
        found.append({"signal": signal.detach()} | dict(zip(INPUTS, gradients, strict=True)))
    for name, values in found[0].items():
        assert difference(found[1][name], values) < 2e-5, name


@pytest.mark.parametrize("sequence", ["tse", "gre", "spiral"])
def test_finite_differences_in_float64(sequence):
    repetitions = in_float64(CASES[sequence](6))
    data = phantom(6, shape="box")
    graph = with_one_history(compute_graph(repetitions, data, THRESHOLDS, rotation_table(data)))
    simulator = Simulator(data, thresholds=THRESHOLDS, dtype=torch.float64)
    leaves = {name: getattr(repetitions, name).clone().requires_grad_() for name in INPUTS}
    signal = simulator(dataclasses.replace(repetitions, **leaves), graph).signal
    gradients = torch.autograd.grad(loss_of(signal), list(leaves.values()))
    generator = torch.Generator().manual_seed(3)
    for name, gradient in zip(INPUTS, gradients, strict=True):
        value = getattr(repetitions, name)
        direction = torch.randn(value.shape, dtype=torch.float64, generator=generator)
        step = 1e-8 * value.abs().max() if name == "gradient_moment" else 1e-6
        step = 1e-9 if name == "event_time" else step
        ends = []
        for sign in (1, -1):
            moved = dataclasses.replace(repetitions, **{name: value + sign * step * direction})
            # A fresh simulator: its encoding is that of the moved trajectory, not of one that
            # equals it within the tolerance.
            fresh = Simulator(data, thresholds=THRESHOLDS, dtype=torch.float64)
            ends.append(float(loss_of(fresh(moved, graph).signal)))
        expected = (ends[0] - ends[1]) / (2 * float(step))
        actual = float((gradient * direction).sum())
        assert actual == pytest.approx(expected, rel=2e-5, abs=1e-7), name


def in_float64(repetitions):
    return repetitions.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def nearly_meeting(accuracy=1e-2):
    """Return a sequence and a graph in which states go on in others, and its phantom."""
    data = phantom(6, coils=2, complex_b1=True, shape="box")
    repetitions = in_float64(fingerprinting(12))
    graph = Simulator(data, accuracy).graph(repetitions)
    assert len(graph.hand_over.giver) > 100
    return data, repetitions, graph


def test_backends_agree_on_states_that_go_on_in_others():
    data, repetitions, graph = nearly_meeting()
    found = []
    for options in ({"backend": TorchBackend()}, {}, {"dtype": torch.float64}):
        leaves = {n: getattr(repetitions, n).clone().requires_grad_() for n in INPUTS}
        changed = dataclasses.replace(repetitions, **leaves)
        signal = Simulator(data, **options)(changed, graph).signal
        gradients = torch.autograd.grad(loss_of(signal), list(leaves.values()))
        maps = map_gradients(data, repetitions, graph, **options)
        found.append(maps | dict(zip(INPUTS, gradients, strict=True)) | {"signal": signal.detach()})
    for name, values in found[2].items():
        for single in found[:2]:
            assert difference(single[name].to(values.dtype), values) < 1e-4, name


def test_states_that_go_on_in_others_have_the_right_gradients():
    data, repetitions, graph = nearly_meeting()
    leaves = {
        n: getattr(repetitions, n).clone().requires_grad_() for n in ("pulse_angle", "pulse_phase")
    }

    def loss(values):
        simulator = Simulator(data, dtype=torch.float64)
        return loss_of(simulator(dataclasses.replace(repetitions, **values), graph).signal)

    gradients = torch.autograd.grad(loss(leaves), list(leaves.values()))
    generator = torch.Generator().manual_seed(3)
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        value = leaf.detach()
        direction = torch.randn(value.shape, dtype=torch.float64, generator=generator)
        ends = [float(loss({name: value + step * direction})) for step in (1e-6, -1e-6)]
        expected = (ends[0] - ends[1]) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=2e-5), name


def test_where_positions_are_differentiated_by_no_state_goes_on_in_another():
    data, repetitions, _ = nearly_meeting()
    moving = dataclasses.replace(
        repetitions, event_time=repetitions.event_time.clone().requires_grad_()
    )
    assert len(Simulator(data, 1e-2).graph(moving).hand_over.giver) == 0
    still = dataclasses.replace(moving, moving=torch.zeros(len(moving.event_time), dtype=bool))
    assert len(Simulator(data, 1e-2).graph(still).hand_over.giver) > 100


def test_second_derivatives_are_refused():
    data, repetitions = phantom(4), CASES["epi"](4)
    angle = repetitions.pulse_angle.requires_grad_()
    signal = Simulator(data)(dataclasses.replace(repetitions, pulse_angle=angle)).signal
    with pytest.raises(SimulationError, match="create_graph"):
        torch.autograd.grad(signal.abs().sum(), angle, create_graph=True)


def test_gradients_add_up_over_parts_of_the_phantom():
    data, repetitions = phantom(16), CASES["tse"](8)
    repetitions.pulse_angle.requires_grad_()
    found = []
    for part in (10**9, 64):
        simulator = Simulator(data, backend=_Hungry(part))
        loss = loss_of(simulator(repetitions).signal)
        found.append(torch.autograd.grad(loss, repetitions.pulse_angle)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


class _Hungry(TorchBackend):
    """Claims to need so much memory that a part holds at most so many voxels."""

    def __init__(self, voxels: int) -> None:
        super().__init__()
        self._voxels = voxels

    def bytes_per_voxel(self, plan, *, adjoint, axes=0):
        return 2**27 // self._voxels

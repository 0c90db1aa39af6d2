"""Signals and gradients are those of MRzeroCore's main pass on the same graph."""

import dataclasses
import functools

import MRzeroCore as mr0
import pytest
import torch

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation import Simulator, Thresholds
from pulseq_zero.simulation.mrzero import compute_graph, rotation_table
from support.sequences import CASES, phantom, with_one_history

THRESHOLDS = Thresholds(
    max_state_count=200,
    min_state_magnetisation=1e-4,
    min_emitted_signal=1e-3,
    min_latent_signal=1e-3,
)
# What MRzeroCore differentiates along one path of each state only
BY_POSITION = ("event_time", "gradient_moment")
INPUTS = ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase")
PHANTOMS = {
    "plain": {"uniform": True},
    "random maps": {},
    "coils and complex B1": {"coils": 4, "complex_b1": True},
    "box": {"shape": "box"},
    "point": {"shape": "point", "coils": 2},
}


def leaves(repetitions: Repetitions) -> Repetitions:
    """Make every tensor of the sequence something to differentiate by."""
    fresh = {name: getattr(repetitions, name).clone().requires_grad_() for name in INPUTS}
    return dataclasses.replace(repetitions, **fresh)


def difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    value, reference = value.to(torch.complex128), reference.to(torch.complex128)
    return float((value - reference).norm() / reference.norm())


def run(simulator: Simulator, repetitions: Repetitions, graph: mr0.Graph) -> dict:
    sequence = leaves(repetitions)
    signal = simulator(sequence, graph).signal
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(signal.shape, dtype=torch.complex64, generator=generator)
    loss = (signal * weight).real.sum() + signal.abs().square().sum() / 10
    gradients = torch.autograd.grad(loss, [getattr(sequence, name) for name in INPUTS])
    return {"signal": signal.detach()} | dict(zip(INPUTS, gradients, strict=True))


@functools.cache
def case(sequence: str, kind: str, one_history: bool = False) -> tuple:
    repetitions = CASES[sequence](12)
    data = phantom(14, **PHANTOMS[kind])
    graph = compute_graph(repetitions, data, THRESHOLDS, rotation_table(data))
    if one_history:
        graph = with_one_history(graph)
    reference = Simulator(data, engine="mrzero", thresholds=THRESHOLDS)
    return repetitions, data, graph, run(reference, repetitions, graph)


@pytest.mark.parametrize("kind", PHANTOMS)
@pytest.mark.parametrize("sequence", CASES)
@pytest.mark.parametrize("one_history", [False, True])
def test_signal_and_gradients(sequence, kind, one_history):
    repetitions, data, graph, expected = case(sequence, kind, one_history)
    actual = run(Simulator(data, thresholds=THRESHOLDS), repetitions, graph)
    assert difference(actual["signal"], expected["signal"]) < 1e-5
    for name in INPUTS:
        if one_history or name not in BY_POSITION:
            assert difference(actual[name], expected[name]) < 1e-4, name


@pytest.mark.parametrize("sequence", CASES)
def test_no_farther_from_float64_than_mrzerocore(sequence):
    repetitions, data, graph, reference = case(sequence, "random maps", one_history=True)
    exact = run(Simulator(data, thresholds=THRESHOLDS, dtype=torch.float64), repetitions, graph)
    ours = run(Simulator(data, thresholds=THRESHOLDS), repetitions, graph)
    for name, values in exact.items():
        assert difference(ours[name], values) < 4 * difference(reference[name], values) + 2e-6, name


def test_memory_bound_changes_nothing():
    repetitions, data, graph, _ = case("tse", "coils and complex B1")
    roomy = run(Simulator(data, thresholds=THRESHOLDS), repetitions, graph)
    tight = run(Simulator(data, thresholds=THRESHOLDS, memory=2**20), repetitions, graph)
    for name, values in roomy.items():
        assert difference(tight[name], values) < 3e-6, name


def test_what_is_kept_between_calls_changes_nothing():
    repetitions, data, _, _ = case("tse", "random maps")
    kept = Simulator(data, accuracy=1e-3)
    kept(repetitions)
    bent = dataclasses.replace(
        repetitions,
        pulse_angle=0.8 * repetitions.pulse_angle,
        gradient_moment=1.1 * repetitions.gradient_moment,
    )
    fresh = Simulator(data, accuracy=1e-3)(bent).signal
    assert difference(kept(bent).signal, fresh) < 1e-6
    data.B0 += 20.0
    fresh = Simulator(data, accuracy=1e-3)(bent).signal
    assert difference(kept(bent).signal, fresh) < 1e-6
    data.B0 -= 20.0

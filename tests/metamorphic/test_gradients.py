"""What does not change the signal has no slope: identities between gradients, and their sums."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.cases import cases
from support.engines import ACCURACY, EXAMPLES, FEW
from support.random_phantoms import UNEQUAL, changed, random_parts

# Gradients may err by ten times the accuracy, each of two
ALLOWED = 20 * ACCURACY
EVENTS = ("event_time", "gradient_moment")
PULSES = ("pulse_angle", "pulse_phase")
TIMES = ("T1", "T2", "T2dash")
RATES = ("B0", "D")

BACKENDS = {
    "compiled": {},
    "torch": {"dtype": torch.float64, "backend": TorchBackend()},
}


def loss_and_gradients(sequence, data, rng, options, names, maps=()):
    """Return Re Σ w S with random weights, its conjugate partner, and the gradients."""
    inputs = {name: getattr(sequence, name).clone().requires_grad_() for name in names}
    wanted = {name: getattr(data, name).clone().requires_grad_() for name in maps}
    simulator = Simulator(changed(data, **wanted), ACCURACY, **options)
    signal = simulator(replace(sequence, **inputs)).signal
    weight = torch.from_numpy(rng.normal(size=(*signal.shape, 2)) @ np.array([1, 1j]))
    total = (signal * weight).sum()
    every = {**inputs, **wanted}
    found = torch.autograd.grad(total.real, list(every.values()))
    slopes = {name: value.double() for name, value in zip(every, found, strict=True)}
    return total.detach(), slopes


def assert_cancel(*terms: torch.Tensor) -> None:
    size = sum(float(term.norm()) for term in terms)
    assert abs(float(sum(term.sum() for term in terms))) <= ALLOWED * size + 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@EXAMPLES
@given(case=cases())
def test_all_phases_turn_the_signal(backend, case):
    sequence, data, rng = case.draw(voxels=12)
    total, slopes = loss_and_gradients(sequence, data, rng, BACKENDS[backend], ("pulse_phase",))
    assert_cancel(slopes["pulse_phase"], total.imag)


@pytest.mark.parametrize("backend", BACKENDS)
@EXAMPLES
@given(case=cases())
def test_the_unit_of_time_is_arbitrary(backend, case):
    sequence, data, rng = case.draw(voxels=12)
    names = (*TIMES, *RATES)
    _, slopes = loss_and_gradients(sequence, data, rng, BACKENDS[backend], ("event_time",), names)
    assert_cancel(
        slopes["event_time"] * sequence.event_time,
        *(slopes[name] * getattr(data, name) for name in TIMES),
        *(-slopes[name] * getattr(data, name) for name in RATES),
    )


@pytest.mark.parametrize("backend", BACKENDS)
@FEW
@given(case=cases(shapes=("point",)))
def test_the_unit_of_length_is_arbitrary(backend, case):
    """For points, which have no size."""
    sequence, data, rng = case.draw(voxels=12)
    names = ("voxel_pos", "D")
    options = BACKENDS[backend]
    _, slopes = loss_and_gradients(sequence, data, rng, options, ("gradient_moment",), names)
    assert_cancel(
        -slopes["gradient_moment"] * sequence.gradient_moment,
        slopes["voxel_pos"] * data.voxel_pos,
        2 * slopes["D"] * data.D,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@EXAMPLES
@given(case=cases(distributions=UNEQUAL))
def test_gradients_of_whole_and_parts(backend, case):
    sequence, data, rng = case.draw(voxels=16)
    names, options = (*PULSES, *EVENTS), BACKENDS[backend]
    seed = rng.integers(2**31)
    whole, *parts = (
        loss_and_gradients(sequence, of, np.random.default_rng(seed), options, names)[1]
        for of in (data, *random_parts(data, rng))
    )
    for name in names:
        together = sum(part[name] for part in parts)
        size = float(whole[name].norm()) + 1e-4 * float(data.PD.sum())
        assert float((together - whole[name]).norm()) <= ALLOWED * size, name

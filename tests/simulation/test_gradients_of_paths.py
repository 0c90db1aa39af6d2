"""Gradients by moments, times and places, with every state kept, against the phase graph's.

Paths that meet in a state come from different repetitions: nothing but the definition tells what
they do together.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pulseq_zero.simulation import Simulator, Thresholds
from pulseq_zero.simulation.compiled.backend import CompiledBackend
from pulseq_zero.simulation.pdg.position_slopes import has_one_history
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.phase_graph import phase_graph_signal, slopes
from support.random_phantoms import SHAPES, changed, random_phantom
from support.random_sequences import Score

EVERY_STATE = Thresholds(10**6, 0.0, 0.0, 0.0)
# So small that no effect of positions counts as negligible
ACCURACY = 1e-9
BACKENDS = {
    "compiled": ({"backend": CompiledBackend()}, 2e-5),
    "torch": ({"dtype": torch.float64, "backend": TorchBackend()}, 1e-6),
}


def equal_intervals(shims: bool = False):
    """Play echoes that coincide with stimulated ones, some without any dephasing left."""
    rng = np.random.default_rng(3)
    score, crusher = Score(), np.array([90.0, -30.0, 200.0])
    score.pulse(math.pi / 2, math.pi / 2, "excitation")
    score.wait(5e-3, crusher)
    for number, angle in enumerate((2.0, 1.3, 2.6, 1.0)):
        score.pulse(angle, 0.4 * number, "refocusing")
        score.wait(4.8e-3, crusher)
        score.sample(3e-4, np.array([8.0, 3.0, 0.0]), 0.1)
        score.sample(3e-4, np.array([-8.0, -3.0, 0.0]), 0.2)
        score.wait(4.6e-3, crusher if number < 3 else -crusher)
    score.pulse(0.7, 0.3, "excitation")
    score.wait(9.7e-3, np.array([10.0, 0.0, 5.0]))
    score.sample(2e-4, np.array([4.0, 0.0, 0.0]), 0.0)
    sequence = score.finish()
    weights = rng.normal(size=(len(sequence.pulse_angle), 2, 2)) @ np.array([0.5, 0.5j])
    return dataclasses.replace(sequence, shim=torch.from_numpy(weights) if shims else None)


def maps(shape: str, channels: int = 1):
    data = random_phantom(
        np.random.default_rng(0), "random", shape, voxels=7, coils=2, complex_B1=True
    )
    # Inside readouts diffusion is that of the mean: what is to be seen here is the rest
    data.D = torch.full_like(data.D, 2.0)
    data.voxel_pos[:, 2] = torch.linspace(-3e-3, 3e-3, 7, dtype=data.voxel_pos.dtype)
    if channels == 2:
        data.B1 = torch.cat([0.8 * data.B1, 0.5 * data.B1.conj()])
    return data


def unit(like, *entry):
    direction = torch.zeros_like(like)
    direction[entry] = 1.0
    return direction


def relative(value, reference) -> float:
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize("shims", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_by_each_moment_and_time(backend, shape, shims):
    sequence, data = equal_intervals(shims), maps(shape, 1 + shims)
    options, allowed = BACKENDS[backend]
    weights = np.random.default_rng(1).normal(
        size=(int(sequence.is_sample.sum()), 2, 2)
    ) @ np.array([1, 1j])
    names = ("gradient_moment", "event_time")
    inputs = {name: getattr(sequence, name).clone().requires_grad_() for name in names}
    simulator = Simulator(data, ACCURACY, thresholds=EVERY_STATE, **options)
    signal = simulator(dataclasses.replace(sequence, **inputs)).signal
    given = torch.from_numpy(weights).to(signal.dtype).conj()
    found = torch.autograd.grad(signal, list(inputs.values()), given)
    moment, time = sequence.gradient_moment, sequence.event_time
    for name, value, directions, step in zip(
        names,
        found,
        (
            [unit(moment, n, axis) for n in range(len(moment)) for axis in range(3)],
            [unit(time, n) for n in range(len(time))],
        ),
        (1e-4, 1e-7),
        strict=True,
    ):
        slope = slopes(sequence, data, name, directions, step)
        expected = np.einsum("sc,dsc->d", weights, slope).real
        assert relative(value.flatten().numpy(), expected) < allowed, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_each_voxels_place(backend):
    sequence, data = equal_intervals(), maps("box")
    options, allowed = BACKENDS[backend]
    weights = np.random.default_rng(1).normal(
        size=(int(sequence.is_sample.sum()), 2, 2)
    ) @ np.array([1, 1j])
    place = data.voxel_pos.double()
    moved = changed(data, voxel_pos=place.clone().requires_grad_())
    signal = Simulator(moved, ACCURACY, thresholds=EVERY_STATE, **options)(sequence).signal
    given = torch.from_numpy(weights).to(signal.dtype).conj()
    (found,) = torch.autograd.grad(signal, moved.voxel_pos, given)
    expected, step = np.zeros(place.shape), 1e-7
    for entry in np.ndindex(*place.shape):
        ends = [
            phase_graph_signal(sequence, changed(data, voxel_pos=place + way * unit(place, *entry)))
            for way in (step, -step)
        ]
        expected[entry] = (weights * (ends[0] - ends[1])).sum().real / (2 * step)
    assert relative(found.numpy(), expected) < allowed


def last_interval(sequence) -> torch.Tensor:
    moving = torch.zeros(len(sequence.event_count), dtype=bool)
    moving[-1] = True
    return moving


def test_only_paths_that_depend_on_what_moves_have_to_be_told_apart():
    sequence = equal_intervals()
    train = Simulator(maps("point"), thresholds=EVERY_STATE).graph(sequence)
    assert not has_one_history(train, None)
    assert has_one_history(train, last_interval(sequence))
    score = Score()
    for angle in (math.pi / 2, math.pi):
        score.pulse(angle, 0.0, "refocusing")
        score.wait(5e-3, np.array([90.0, 0.0, 0.0]))
    score.sample(1e-4, np.zeros(3), 0.0)
    echo = Simulator(maps("point"), thresholds=EVERY_STATE).graph(score.finish())
    assert has_one_history(echo, None)

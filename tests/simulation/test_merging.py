"""States that nearly meet count as one only where the phantom cannot tell them apart.

Every other interval is a little different, so that positions differ by any multiple of that: each
is near to the next, but the first and the last are not near to each other.
"""

import math
import warnings

import numpy as np
import pytest
import torch

from pulseq_zero.simulation import simulate
from support.measures import relative_error
from support.phase_graph import phase_graph_signal
from support.random_phantoms import random_phantom
from support.random_sequences import Score

ACCURACIES = (1e-2, 1e-3, 1e-4, 1e-5)
PULSES = 40


def nearly_balanced(time: float = 0.0, moment: float = 0.0):
    """Play a train whose every other interval has a bit more time [s] or moment [1/m]."""
    score = Score()
    for number in range(PULSES):
        more = number % 2
        score.pulse(0.7, math.pi * number, "excitation")
        score.wait(2e-3)
        score.sample(1e-4, np.zeros(3), 0.0)
        score.wait(2e-3 + more * time, np.array([more * moment, 0.0, 0.0]))
    return score.finish()


@pytest.mark.parametrize(
    "more",
    [
        {"moment": 0.2},
        {"moment": 0.049},
        {"moment": 0.005},
        {"time": 1e-4},
        {"time": 1e-5},
        {"time": 1.9e-6},
        {"time": 1e-7},
        {"time": 1.9e-6, "moment": -0.049},
    ],
    ids=str,
)
def test_near_states_of_a_balanced_train(more):
    sequence = nearly_balanced(**more)
    data = random_phantom(np.random.default_rng(0), "smooth", "box", voxels=12)
    data.B0 = torch.linspace(-200, 200, 12)
    reference = phase_graph_signal(sequence, data)
    errors = {
        accuracy: relative_error(simulate(sequence, data, accuracy).signal, reference) / accuracy
        for accuracy in ACCURACIES
    }
    assert max(errors.values()) < 3, errors


def fingerprinting(pulses: int):
    """Play a train of angles and repetition times that are all different, after an inversion."""
    rng, score = np.random.default_rng(0), Score()
    score.pulse(math.pi, 0.0, "inversion")
    score.wait(20e-3, np.array([0.0, 0.0, 600.0]))
    for number in range(pulses):
        score.pulse(0.17 + 0.87 * abs(math.sin(math.pi * number / 100)), 0.0, "excitation")
        score.wait(3e-3, np.array([-18.0, 0.0, 0.0]))
        for _ in range(8):
            score.sample(1e-4, np.array([4.5, 0.0, 0.0]), 0.0)
        score.wait(8.2e-3 + 1e-5 * rng.integers(300), np.array([-18.0, 0.0, 500.0]))
    return score.finish()


def nine_voxels(T2dash: float, off_resonance: float):
    """Return a phantom of nine voxels, with so much of T2' [s] and of B0 [Hz] from end to end."""
    data = random_phantom(np.random.default_rng(1), "smooth", "sinc", voxels=9)
    data.T2dash = T2dash * torch.linspace(0.7, 1.3, 9)
    data.B0 = off_resonance * torch.linspace(-0.5, 0.5, 9)
    return data


@pytest.mark.parametrize("T2dash", [0.03, 0.05, math.inf])
@pytest.mark.parametrize("off_resonance", [0.0, 50.0, 160.0])
def test_fingerprinting_is_as_accurate_as_asked(T2dash, off_resonance):
    sequence, data = fingerprinting(14), nine_voxels(T2dash, off_resonance)
    reference = phase_graph_signal(sequence, data)
    errors = {
        accuracy: relative_error(simulate(sequence, data, accuracy).signal, reference) / accuracy
        for accuracy in ACCURACIES[:3]
    }
    assert max(errors.values()) < 3, errors


def test_a_long_fingerprinting_train_makes_few_states():
    """Without any that go on in others it would have millions."""
    sequence, data = fingerprinting(300), nine_voxels(0.05, 50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coarse, fine = (simulate(sequence, data, accuracy) for accuracy in (1e-2, 1e-3))
    assert fine.states < 500_000
    assert relative_error(coarse.signal, fine.signal.numpy()) < 3e-2


def test_a_balanced_train_does_not_feed_on_what_is_missed():
    """Hundreds of pulses without spoiling, in which every error is carried on."""
    score = Score()
    for number in range(200):
        score.pulse(0.7, math.pi * number, "excitation")
        score.wait(2e-3)
        score.sample(1e-4, np.zeros(3), 0.0)
        score.wait(2e-3)
    sequence = score.finish()
    data = random_phantom(np.random.default_rng(0), "smooth", "box", voxels=12)
    data.B0 = torch.linspace(-200, 200, 12)
    reference = phase_graph_signal(sequence, data)
    for accuracy in ACCURACIES[:3]:
        error = relative_error(simulate(sequence, data, accuracy).signal, reference)
        assert error < 3 * accuracy, accuracy

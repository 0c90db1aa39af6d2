"""States that nearly meet count as one only where the phantom cannot tell them apart.

Every other interval is a little different, so that positions differ by any multiple of that: each
is near to the next, but the first and the last are not near to each other.
"""

import math

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

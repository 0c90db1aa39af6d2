"""The signal is linear in the voxels: a whole is the sum of its parts, each simulated alone.

Each part selects states of its own. What is left out of the whole has to be as little as what is
left out of the parts, whichever voxels make the states.
"""

import numpy as np
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.simulation import simulate
from support.measures import relative_error
from support.random_phantoms import UNEQUAL, chosen_voxels, random_parts, random_phantom
from support.random_sequences import KINDS

ACCURACIES = (1e-3, 1e-4, 1e-5)
# The parts' errors add to the whole's.
ALLOWED = 5


def differences(sequence, data, parts) -> dict[float, float]:
    """Return by how many accuracies whole and parts differ, relative to the whole's signal."""

    def signal(of, accuracy):
        return simulate(sequence, of, accuracy).signal.to(torch.complex128)

    return {
        accuracy: relative_error(
            sum(signal(part, accuracy) for part in parts), signal(data, accuracy)
        )
        / accuracy
        for accuracy in ACCURACIES
    }


@pytest.mark.parametrize("distribution", UNEQUAL)
@pytest.mark.parametrize("kind", KINDS)
def test_random_parts(kind, distribution):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        sequence, data = KINDS[kind](rng), random_phantom(rng, distribution, coils=2)
        found = differences(sequence, data, random_parts(data, rng))
        assert max(found.values()) < ALLOWED, f"seed {seed}: {found}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_outlier_alone(kind):
    """Where B1 is 0.2 in one voxel of many, that one makes states that all others do not."""
    rng = np.random.default_rng(7)
    sequence, data = KINDS[kind](rng), random_phantom(rng, "homogeneous", "box", voxels=50)
    data.B1[:, 17] = 0.2
    parts = [chosen_voxels(data, [17]), chosen_voxels(data, np.delete(np.arange(50), 17))]
    found = differences(sequence, data, parts)
    assert max(found.values()) < ALLOWED, found


@pytest.fixture(scope="module")
def echo_train(tse):
    return SequenceModel(tse, arguments={"n_read": 32})({}).detach()


def test_a_brain_in_ranges_of_its_transmit_field(echo_train, small_brain):
    data = small_brain.simulation_data()
    field = data.B1.sum(0).abs().numpy()
    parts = [chosen_voxels(data, part) for part in np.array_split(np.argsort(field), 4)]
    found = differences(echo_train, data, parts)
    assert max(found.values()) < ALLOWED, found


def test_a_brain_with_outliers(echo_train, ideal_brain):
    """Echoes of 180° make no stimulated ones, except in the 2 % of voxels with B1 = 0.2."""
    data = ideal_brain.simulation_data()
    is_outlier = np.random.default_rng(0).random(len(data.PD)) < 0.02
    data.B1[:, torch.from_numpy(is_outlier)] = 0.2
    parts = [chosen_voxels(data, np.flatnonzero(part)) for part in (is_outlier, ~is_outlier)]
    found = differences(echo_train, data, parts)
    assert max(found.values()) < ALLOWED, found

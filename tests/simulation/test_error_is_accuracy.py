"""The accuracy that a user asks for is the error of the signal, whatever sequence and phantom."""

import math

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.simulation import Simulator, simulate
from support.measures import distance, relative_error
from support.phase_graph import phase_graph_signal
from support.random_phantoms import DISTRIBUTIONS, random_phantom
from support.random_sequences import FOV, KINDS, Score

ACCURACIES = (1e-2, 1e-3, 1e-4, 1e-5)
ALLOWED = 3
SEEDS = 23


def in_accuracies(signal, reference, accuracy: float, data: mr0.SimData) -> float:
    """Return the error as a multiple of the accuracy, relative to the reference's norm.

    A signal that vanishes by design (angles of 0 and π alone) is compared with the rounding of
    what the voxels could give.
    """
    rounding = 1e-6 * float(data.PD.sum()) * math.sqrt(np.size(reference))
    size = accuracy * float(np.linalg.norm(reference))
    return distance(signal, reference) / max(size, rounding)


@pytest.mark.parametrize("kind", KINDS)
def test_random_sequences_and_phantoms(kind):
    """More than 200 sequences in all, half of them with angles of exactly 0, π/2 and π."""
    wrong = {}
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, list(KINDS).index(kind)])
        sequence = KINDS[kind](rng, "special" if seed % 2 else "anywhere")
        data = random_phantom(rng, DISTRIBUTIONS[seed % len(DISTRIBUTIONS)], coils=1 + seed % 3)
        reference = phase_graph_signal(sequence, data)
        for accuracy in ACCURACIES:
            signal = simulate(sequence, data, accuracy).signal
            error = in_accuracies(signal, reference, accuracy, data)
            if not error < ALLOWED:
                wrong[seed, accuracy] = round(error, 1)
    assert not wrong, f"(seed, accuracy): error in accuracies {wrong}"


def one_among_many(**off: float) -> mr0.SimData:
    """Return 60 voxels of short T2 and T2', but for one that is far off."""
    data = random_phantom(np.random.default_rng(0), "homogeneous", "box", voxels=60)
    data.T2, data.T2dash = torch.full_like(data.T2, 0.05), torch.full_like(data.T2dash, 0.02)
    for name, value in off.items():
        getattr(data, name)[..., 3] = value
    return data


def two_pulses(first: float, second: float, waiting: float) -> Score:
    score = Score()
    score.pulse(first, 0.3, "excitation")
    score.wait(waiting, np.array([0.0, 10.0, 0.0]))
    score.pulse(second, 0.0, "excitation")
    for _ in range(4):
        score.sample(2e-4, np.array([5.0, 0.0, 0.0]), 0.0)
    return score


@pytest.mark.parametrize(
    ("sequence", "data"),
    [
        pytest.param(
            two_pulses(math.pi / 2, math.pi, 10e-3), one_among_many(B1=0.2), id="transmit field"
        ),
        pytest.param(
            two_pulses(math.pi, math.pi, 10e-3), one_among_many(B1=0.2), id="all of the signal"
        ),
        # Transverse magnetisation of the first pulse is left in that voxel only
        pytest.param(
            two_pulses(1.5, 1.5, 0.4), one_among_many(T2=1.5, T2dash=1.0), id="relaxation"
        ),
    ],
)
def test_one_voxel_makes_a_state_that_others_do_not(sequence, data):
    sequence = sequence.finish()
    reference = phase_graph_signal(sequence, data)
    for accuracy in ACCURACIES:
        signal = simulate(sequence, data, accuracy).signal
        assert in_accuracies(signal, reference, accuracy, data) < ALLOWED


@pytest.mark.parametrize("kind", ["TSE", "spoiled GRE", "STEAM"])
@pytest.mark.parametrize("T2", [1e-6, 1e-3])
def test_solid_voxels_hide_no_others(kind, T2):
    """A third of the voxels has no signal left at the echo, which the others do not mind."""
    rng = np.random.default_rng(3)
    sequence, data = KINDS[kind](rng), random_phantom(rng, "smooth", "box", voxels=30)
    data.T2[::3] = T2
    reference = phase_graph_signal(sequence, data)
    for accuracy in ACCURACIES:
        signal = simulate(sequence, data, accuracy).signal
        assert in_accuracies(signal, reference, accuracy, data) < ALLOWED


def test_the_edge_of_a_sinc_voxel():
    """It answers by half where k is half a unit above the Nyquist frequency, and less beyond."""
    data = random_phantom(np.random.default_rng(0), "homogeneous", "sinc", voxels=20)
    for off in (0.49, 0.5, 0.51, 0.53):
        score = Score()
        score.pulse(1.5, 0.0, "excitation")
        score.sample(1e-3, np.array([float(data.nyquist[0]) + off, 0.0, 0.0]), 0.0)
        sequence = score.finish()
        signal = simulate(sequence, data, 1e-3).signal
        assert relative_error(signal, phase_graph_signal(sequence, data)) < ALLOWED * 1e-3


def test_states_far_out_in_k_space():
    """Positions in k-space times those of voxels are hundreds of turns, and their parts count."""
    score = Score()
    for phase in (0.0, 1.0, 2.5):
        score.pulse(0.9, phase, "excitation")
        score.wait(2e-3, np.array([2000.0, 0.0, 0.0]))
        for _ in range(4):
            score.sample(1e-4, np.array([5.0, 0.0, 0.0]), 0.0)
    sequence = score.finish()
    data = random_phantom(np.random.default_rng(0), "smooth", "point")
    reference = phase_graph_signal(sequence, data)
    signal = simulate(sequence, data, 1e-5).signal
    assert in_accuracies(signal, reference, 1e-5, data) < ALLOWED


@pytest.mark.parametrize("kind", KINDS)
def test_from_any_magnetisation(kind):
    """Saturated, inverted or prepared at random before the first pulse."""
    wrong = {}
    for seed in range(4):
        rng = np.random.default_rng([seed, 1])
        sequence, data = KINDS[kind](rng), random_phantom(rng, "smooth")
        before = (
            rng.uniform(-1, 1, len(data.PD)),
            np.full(len(data.PD), -1.0),
            (rng.random(len(data.PD)) < 0.1).astype(float),
            np.zeros(len(data.PD)),
        )[seed]
        reference = phase_graph_signal(sequence, data, before)
        for accuracy in ACCURACIES:
            simulator = Simulator(data, accuracy, initial=torch.from_numpy(before))
            error = in_accuracies(simulator(sequence).signal, reference, accuracy, data)
            if not error < ALLOWED:
                wrong[seed, accuracy] = round(error, 1)
    assert not wrong, f"(seed, accuracy): error in accuracies {wrong}"


@pytest.mark.parametrize("shape", ["sinc", "box", "gauss"])
@pytest.mark.parametrize("kind", ["spoiled GRE", "TSE", "STEAM", "DREAM", "MRF"])
def test_voxels_off_any_grid(kind, shape):
    """They too answer to dephasing by their shape and size."""
    wrong = {}
    for seed in range(3):
        rng = np.random.default_rng([seed, 2])
        sequence = KINDS[kind](rng)
        values = random_phantom(rng, "random", voxels=12)
        # That of a Gaussian is the squared width in radians
        size = (2 * math.pi * FOV / 30) ** 2 if shape == "gauss" else FOV / 12
        data = mr0.CustomVoxelPhantom(
            rng.uniform(-FOV / 2, FOV / 2, (12, 3)).tolist(),
            PD=values.PD.tolist(),
            T1=values.T1.tolist(),
            T2=values.T2.tolist(),
            T2dash=values.T2dash.tolist(),
            D=values.D.tolist(),
            B0=values.B0.tolist(),
            B1=values.B1[0].abs().tolist(),
            voxel_size=size,
            voxel_shape=shape,
        ).build()
        reference = phase_graph_signal(sequence, data)
        for accuracy in ACCURACIES:
            signal = simulate(sequence, data, accuracy).signal
            error = in_accuracies(signal, reference, accuracy, data)
            if not error < ALLOWED:
                wrong[seed, accuracy] = round(error, 1)
    assert not wrong, f"(seed, accuracy): error in accuracies {wrong}"


def test_voxels_of_an_exact_sinc():
    """Below their Nyquist frequency all is answered, above it nothing."""
    data = mr0.CustomVoxelPhantom(
        [[0.0, 0.0, 0.0]], T2dash=math.inf, voxel_size=0.01, voxel_shape="exact_sinc"
    ).build()
    score = Score()
    score.pulse(math.pi / 2, math.pi / 2, "excitation")
    for _ in range(4):
        score.sample(0.0, np.array([20.0, 0.0, 0.0]), 0.0)
    signal = simulate(score.finish(), data, 1e-3).signal[:, 0]
    np.testing.assert_allclose(signal, [1, 1, 0, 0], rtol=0, atol=1e-6)

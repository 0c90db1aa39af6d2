"""The untruncated phase graph is judged by closed forms and by Bloch's equation.

Then the simulation, with all states, is judged by it.
"""

import math

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.judge import converged_isochromats, course_of
from pulseq_zero.simulation import Simulator, Thresholds
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.measures import relative_error
from support.phase_graph import SENSE, phase_graph_signal, slopes
from support.random_phantoms import chosen_voxels, random_parts, random_phantom
from support.random_sequences import KINDS, Score

T1, T2 = 0.9, 0.08
Z = np.array([0.0, 0.0, 1.0])


def voxel(T2dash: float = math.inf, D: float = 0.0, shape: str = "box") -> mr0.SimData:
    """Return a voxel of 1 cm at the centre."""
    one = torch.ones(1, 1, 1)
    data = mr0.VoxelGridPhantom(
        PD=one,
        T1=T1 * one,
        T2=T2 * one,
        T2dash=T2dash * one,
        D=one,
        B0=0 * one,
        B1=one[None],
        coil_sens=one[None],
        affine=10 * torch.eye(3, 4),
    ).build(voxel_shape=shape)
    data.D = torch.full_like(data.D, D)
    return data


def bloch(repetitions, data) -> np.ndarray:
    """Follow one spin at the middle of each voxel, (samples, coils); no T2', no diffusion."""
    phase, angle = repetitions.pulse_phase.numpy(), repetitions.pulse_angle.numpy()
    weight = data.coil_sens.numpy() * data.PD.double().numpy()
    field, B0 = data.B1.sum(0).numpy().astype(complex), data.B0.numpy().astype(float)
    rate1, rate2 = 1 / data.T1.double().numpy(), 1 / data.T2.double().numpy()
    place = data.voxel_pos.double().numpy()
    plus, along = np.zeros(len(B0), complex), np.ones(len(B0))
    signal, event = [], 0
    for number, count in enumerate(repetitions.event_count):
        flip, axis = angle[number] * np.abs(field), phase[number] + np.angle(field)
        plus = plus * np.exp(-1j * axis)
        y, z = plus.imag, along
        plus = plus.real + 1j * (y * np.cos(flip) - z * np.sin(flip))
        along = y * np.sin(flip) + z * np.cos(flip)
        plus = plus * np.exp(1j * axis)
        for e in range(event, event + count):
            time = float(repetitions.event_time[e])
            turns = place @ repetitions.gradient_moment[e].numpy() + time * B0
            plus = plus * np.exp(SENSE * 2j * np.pi * turns - time * rate2)
            along = 1 + (along - 1) * np.exp(-time * rate1)
            if repetitions.adc_usage[e]:
                signal.append(weight @ plus * np.exp(1j * float(repetitions.adc_phase[e])))
        event += count
    return np.array(signal)


@pytest.mark.parametrize("angles", ["anywhere", "special"])
@pytest.mark.parametrize("kind", KINDS)
def test_points_follow_the_bloch_equation(kind, angles):
    """All states of a voxel that is a point add up to the magnetisation of one spin."""
    rng = np.random.default_rng(1)
    data = random_phantom(rng, "random", "point", coils=2, complex_B1=True)
    data.D, data.T2dash = 0 * data.D, torch.full_like(data.T2dash, math.inf)
    sequence = KINDS[kind](rng, angles)
    assert relative_error(phase_graph_signal(sequence, data), bloch(sequence, data)) < 1e-11


@pytest.mark.parametrize("degrees", [180, 120, 50])
def test_echoes_of_a_train_of_constant_angle(degrees):
    """Hennig's spin echo and the sum of the spin and the stimulated one in the second echo."""
    spacing, flip, crusher = 12e-3, math.radians(degrees), 300 * Z
    score = Score()
    score.pulse(math.pi / 2, math.pi / 2, "excitation")
    score.wait(spacing / 2, crusher)
    for _ in range(2):
        score.pulse(flip, 0.0, "refocusing")
        score.sample(spacing / 2, crusher, 0.0)
        score.wait(spacing / 2, crusher)
    decay, kept = math.exp(-spacing / T2), math.exp(-spacing / T1)
    first = math.sin(flip / 2) ** 2 * decay
    second = math.sin(flip / 2) ** 4 * decay**2 + math.sin(flip) ** 2 / 2 * decay * kept
    signal = phase_graph_signal(score.finish(), voxel())[:, 0]
    np.testing.assert_allclose(signal, [first, second], rtol=0, atol=1e-7)


def test_inversion_recovery_and_T2dash():
    inversion_time, time = 0.4, 7e-3
    score = Score()
    score.pulse(math.pi, 0.0, "inversion")
    score.wait(inversion_time, 300 * Z)
    score.pulse(math.pi / 2, math.pi / 2, "excitation")
    score.sample(time, 0 * Z, 0.0)
    expected = (1 - 2 * math.exp(-inversion_time / T1)) * math.exp(-time / T2 - time / 0.02)
    signal = phase_graph_signal(score.finish(), voxel(T2dash=0.02))
    assert complex(signal[0, 0]) == pytest.approx(expected, abs=1e-7)


def test_stimulated_echo_is_a_half():
    """Diffusion weights it by the gradient's square and its distance, as long pulses do."""
    echo_time, mixing_time, moment, D = 10e-3, 50e-3, 200.0, 1.5
    score = Score()
    score.pulse(math.pi / 2, 0.0, "excitation")
    score.wait(echo_time / 2, moment * Z)
    score.pulse(math.pi / 2, 0.0, "preparation")
    score.wait(mixing_time, np.array([400.0, 0.0, 0.0]))
    score.pulse(math.pi / 2, 0.0, "preparation")
    score.sample(echo_time / 2, moment * Z, 0.0)
    duration = echo_time / 2
    b = (2 * math.pi * moment) ** 2 * (duration + mixing_time - duration / 3)
    decay = echo_time / T2 + mixing_time / T1 + 1e-9 * D * b
    signal = phase_graph_signal(score.finish(), voxel(T2dash=0.02, D=D))
    assert abs(signal[0, 0]) == pytest.approx(0.5 * math.exp(-decay), rel=1e-6)


@pytest.mark.parametrize(
    ("increment", "D", "tolerance"), [(0.0, 1e6, 1e-6), (math.radians(117), 0.0, 0.05)]
)
def test_ernst(increment, D, tolerance):
    """Spoiled by diffusion, gradient echoes have Ernst's signal; by 117° nearly so."""
    TR, flip = 10e-3, math.radians(15)
    score = Score()
    for number in range(400):
        phase = increment * number * (number + 1) / 2 % (2 * math.pi)
        score.pulse(flip, phase, "excitation")
        score.sample(0.0, 0 * Z, -phase)
        score.wait(TR, 1000 * Z)
    kept = math.exp(-TR / T1)
    expected = math.sin(flip) * (1 - kept) / (1 - kept * math.cos(flip))
    signal = phase_graph_signal(score.finish(), voxel(D=D))[-1, 0]
    assert abs(signal) == pytest.approx(expected, rel=tolerance)


def test_slopes_are_those_of_a_closed_form():
    score, flip, time = Score(), 0.7, 20e-3
    score.pulse(flip, 0.3, "excitation")
    score.sample(time, 0 * Z, 0.1)
    value = -1j * np.exp(0.4j - time / T2)
    expected = {
        "pulse_angle": value * math.cos(flip),
        "pulse_phase": 1j * value * math.sin(flip),
        "event_time": -value * math.sin(flip) / T2,
        "adc_phase": 1j * value * math.sin(flip),
    }
    for name, slope in expected.items():
        found = slopes(score.finish(), voxel(), name, [torch.ones(1)], 1e-4)
        assert found[0, 0, 0] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("shape", ["sinc", "box", "point"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_simulation_agrees_if_it_leaves_nothing_out(kind, shape):
    """Of equal D, as inside readouts the simulation takes the mean."""
    rng = np.random.default_rng(2)
    data = random_phantom(rng, "random", shape, coils=2, complex_B1=True)
    data.D = torch.full_like(data.D, 1.3)
    sequence = KINDS[kind](rng)
    everything = Thresholds(100000, 0.0, 0.0, 0.0)
    for backend, dtype, tolerance in (
        (TorchBackend(), torch.float64, 1e-9),
        (None, torch.float32, 1e-4),
    ):
        simulator = Simulator(data, dtype=dtype, thresholds=everything, backend=backend)
        signal = simulator(sequence).signal.numpy()
        assert relative_error(signal, phase_graph_signal(sequence, data)) < tolerance


@pytest.mark.parametrize("angles", ["anywhere", "special"])
@pytest.mark.parametrize("kind", KINDS)
def test_isochromats_agree_within_their_scatter(kind, angles):
    rng = np.random.default_rng(0)
    data = random_phantom(rng, "random", "box", voxels=4, complex_B1=True)
    data.D = 0 * data.D
    sequence = KINDS[kind](rng, angles)
    judge = converged_isochromats(course_of(sequence), data, tolerance=5e-3, spins=1024)
    assert judge.scatter < 2e-2
    assert relative_error(judge.signal, phase_graph_signal(sequence, data)) < 3 * judge.scatter


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    data, sequence = random_phantom(rng, coils=3), KINDS["STEAM"](rng)
    parts = random_parts(data, rng)
    assert sum(len(part.PD) for part in parts) == len(data.PD)
    whole = phase_graph_signal(sequence, data)
    assert relative_error(sum(phase_graph_signal(sequence, part) for part in parts), whole) < 1e-13
    twice = chosen_voxels(data, np.repeat(np.arange(len(data.PD)), 2))
    assert relative_error(phase_graph_signal(sequence, twice), 2 * whole) < 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_special_angles_are_exact(kind):
    angle = torch.cat([
        KINDS[kind](np.random.default_rng(seed), "special").pulse_angle for seed in range(8)
    ])  # fmt: skip
    for special in (0.0, math.pi / 2, math.pi):
        assert bool((angle.abs() == special).any())
    assert not bool(torch.isin(angle.abs(), torch.tensor([0.0, math.pi / 2, math.pi])).all())

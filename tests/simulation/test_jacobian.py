"""Slopes of the signal by tissue: by closed forms and by differences of an exact phase graph."""

import math
from dataclasses import replace

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.imaging.precision import crlb
from pulseq_zero.simulation import Simulator
from support.phase_graph import phase_graph_signal
from support.random_phantoms import changed
from support.random_sequences import mrf
from support.refusal import check

T1, T2 = 0.9, 0.08


def voxels(count=1, **maps):
    data = mr0.CustomVoxelPhantom(
        pos=[[0.01 * n, 0.0, 0.0] for n in range(count)], PD=1.0, T1=T1, T2=T2, T2dash=10.0,
        D=0.0, B0=0.0, B1=1.0, voxel_size=0.01, voxel_shape="box",
    ).build()  # fmt: skip
    return changed(data, **maps) if maps else data


def echo_train(echo_times):
    """Refocus by 180 degrees and sample each echo, in phase."""
    times = torch.as_tensor(echo_times, dtype=torch.float64)
    spacing = torch.diff(times, prepend=times.new_zeros(1))
    count = len(times)
    degrees = torch.tensor([90.0, *[180.0] * count], dtype=torch.float64)
    halves = torch.stack([spacing, spacing], 1).ravel() / 2
    # Half a spacing before the pulse, half after it up to the sample
    first = halves[0::2]
    second = halves[1::2]
    event_time = torch.cat(
        [
            first[:1],
            *(
                torch.stack([second[n], first[n + 1]]) if n + 1 < count else second[n : n + 1]
                for n in range(count)
            ),
        ]
    )
    event_count = (1, *[2] * (count - 1), 1)
    usage = torch.tensor([0, *[1, 0] * (count - 1), 1])
    events = len(event_time)
    return Repetitions(
        pulse_angle=torch.deg2rad(degrees),
        pulse_phase=torch.tensor([math.pi / 2, *[0.0] * count], dtype=torch.float64),
        pulse_use=("excitation", *["refocusing"] * count),
        event_count=event_count,
        event_time=event_time,
        gradient_moment=torch.zeros(events, 3, dtype=torch.float64),
        adc_phase=torch.zeros(events, dtype=torch.float64),
        adc_usage=usage,
    )


def test_slopes_of_a_perfect_echo_train_are_those_of_the_exponential():
    TE = torch.tensor([0.02, 0.04, 0.08, 0.16], dtype=torch.float64)
    jacobian = Simulator(voxels(), accuracy=1e-6).jacobian(echo_train(TE), ("PD", "T2", "T1"))
    assert jacobian.shape == (4, 1, 3, 1)
    signal = torch.exp(-TE / T2)
    torch.testing.assert_close(jacobian[:, 0, 0, 0].abs(), signal, rtol=1e-6, atol=0)
    torch.testing.assert_close(jacobian[:, 0, 1, 0].abs(), signal * TE / T2**2, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        jacobian[:, 0, 2, 0].abs(), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_the_bound_of_two_echoes_is_its_closed_form():
    """With as many samples as unknowns, the estimate is the inverse of the signal."""
    TE = torch.tensor([0.02, 0.1], dtype=torch.float64)
    jacobian = Simulator(voxels(), accuracy=1e-6).jacobian(echo_train(TE), ("PD", "T2"))
    sigma = 0.01
    bound = crlb(jacobian, sigma)
    # R2 = ln(s1 / s2) / (TE2 - TE1), and T2 = 1 / R2
    signal = np.exp(-TE.numpy() / T2)
    of_rate = sigma**2 * (signal**-2.0).sum() / float(TE[1] - TE[0]) ** 2
    assert float(bound[1, 0]) == pytest.approx(of_rate * T2**4, rel=1e-5)


def test_the_best_second_echo_is_found_by_the_slope_of_the_bound():
    """Of a first echo at zero, the second is best where d/dt of (1 + e^(2t/T2)) / t² vanishes."""
    from scipy.optimize import brentq

    best = brentq(lambda t: (t / T2 - 1) * math.exp(2 * t / T2) - 1, 0.5 * T2, 3 * T2)
    slopes = []
    for time in (0.95 * best, best, 1.05 * best):
        TE = torch.tensor([1e-6, time], dtype=torch.float64, requires_grad=True)
        jacobian = Simulator(voxels(), accuracy=1e-6).jacobian(echo_train(TE), ("PD", "T2"))
        bound = crlb(jacobian, 0.01)[1, 0].log()
        slopes.append(float(torch.autograd.grad(bound, TE)[0][1]))
    assert slopes[0] < 0 < slopes[2]
    assert abs(slopes[1]) < 1e-2 * slopes[2]


@pytest.mark.parametrize("name", ["PD", "T1", "T2", "T2dash", "D", "B0", "B1"])
def test_slopes_are_differences_of_the_exact_signal(name):
    """Of a fingerprint with pulses of any angle, in two voxels that differ."""
    sequence = mrf(np.random.default_rng(4))
    maps = {
        "T1": torch.tensor([0.9, 1.7]), "T2": torch.tensor([0.05, 0.2]),
        "T2dash": torch.tensor([0.05, 0.3]), "D": torch.tensor([1.0, 2.0]),
        "B0": torch.tensor([5.0, -12.0]), "B1": torch.tensor([[0.9 + 0.1j, 1.1 + 0j]]),
    }  # fmt: skip
    data = voxels(2, **maps)
    found = Simulator(data, accuracy=1e-6).jacobian(sequence, (name,))[:, 0, 0]
    step = 1e-5
    for voxel in range(2):
        ends = []
        for sign in (1, -1):
            values = (
                getattr(data, name).clone().to(torch.complex128 if name == "B1" else torch.float64)
            )
            here = values[..., voxel]
            values[..., voxel] = here + sign * step if name == "B0" else here * (1 + sign * step)
            ends.append(phase_graph_signal(sequence, changed(data, **{name: values}))[:, 0])
        size = 1.0 if name in ("B0", "B1") else float(getattr(data, name)[voxel])
        expected = (ends[0] - ends[1]) / (2 * step * size)
        error = np.linalg.norm(found[:, voxel].numpy() - expected)
        assert error < 1e-4 * np.linalg.norm(expected)


def test_what_cannot_be_told_is_refused():
    simulator = Simulator(voxels())
    check(
        lambda: simulator.jacobian(echo_train([0.02]), ("T3",)),
        "the phantom has no map 'T3' to differentiate by; choose among T1, T2, T2dash, B1, PD, B0, "
        "D",
    )
    jacobian = simulator.jacobian(echo_train([0.02]), ("PD", "T2"))
    with pytest.raises(SimulationError, match="no estimate can tell them apart"):
        crlb(jacobian, 0.01)


def test_slopes_and_their_gradients_are_those_of_mrzerocores_double_backward():
    """Its main pass is torch's: the signal is differentiated by T2, and again by angles."""
    sequence = mrf(np.random.default_rng(4))
    angles = sequence.pulse_angle.clone().requires_grad_()
    sequence = replace(sequence, pulse_angle=angles)
    T2s = torch.tensor([0.05, 0.2], requires_grad=True)
    data = voxels(2, T1=torch.tensor([0.9, 1.7]), T2=T2s, B0=torch.tensor([5.0, -12.0]))
    samples = slice(0, 6)
    signal = Simulator(data, accuracy=1e-6, engine="mrzero")(sequence).signal[samples, 0]
    parts = torch.view_as_real(signal).ravel()
    slopes = [torch.autograd.grad(part, T2s, create_graph=True)[0] for part in parts]
    theirs = torch.view_as_complex(
        torch.stack(slopes).unflatten(0, (-1, 2)).movedim(1, -1).contiguous()
    )
    ours = Simulator(data, accuracy=1e-6).jacobian(sequence, ("T2",))[samples, 0, 0]
    size = ours.detach().abs().max()
    assert (ours - theirs).detach().abs().max() < 2e-3 * size
    gradients = [
        torch.autograd.grad(each.abs().square().sum().double(), angles, retain_graph=True)[0]
        for each in (ours, theirs)
    ]
    assert (gradients[0] - gradients[1]).abs().max() < 5e-3 * gradients[0].abs().max()


def test_the_bound_is_the_inverse_of_the_hessian_of_the_negative_log_likelihood():
    """Its definition: F is the mean curvature of -log p(s | θ), at the truth (Kay 1993, 3.20)."""
    times, sigma = torch.tensor([0.02, 0.05, 0.11], dtype=torch.float64), 0.02
    truth = torch.tensor([1.3, T2, 7.0], dtype=torch.float64)

    def model(theta):
        PD, relaxation, B0 = theta
        return PD * torch.exp(-times / relaxation + 2j * math.pi * B0 * times)

    def negative_log_likelihood(theta):
        return torch.view_as_real(model(theta) - model(truth)).square().sum() / (2 * sigma**2)

    fisher = torch.autograd.functional.hessian(negative_log_likelihood, truth)
    slopes = torch.autograd.functional.jacobian(lambda t: torch.view_as_real(model(t)), truth)
    jacobian = torch.complex(slopes[:, 0], slopes[:, 1])[:, None, :, None]
    torch.testing.assert_close(crlb(jacobian, sigma)[:, 0], torch.linalg.inv(fisher).diagonal())

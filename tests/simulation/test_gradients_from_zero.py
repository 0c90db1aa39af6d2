"""Gradients of what a state of no power leads to, and of all paths that meet in a state.

Errors are those of the gradients of Re Σ w S with some random complex weights w, which see all of
the signal's Jacobian. They are taken for each tensor of the sequence by itself, along some
directions in it, as the root sum of squares relative to that of the converged gradients.
"""

import dataclasses
import math

import MRzeroCore as mr0
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.simulation import Simulator
from support.phase_graph import phase_graph_signal, slopes
from support.random_phantoms import DISTRIBUTIONS, SHAPES, random_phantom
from support.random_sequences import FOV, KINDS, Score

ACCURACIES = (1e-2, 1e-3, 1e-4)
ALLOWED = 10
LOSSES = 4
# [s]
LONG = 20e-3
NAMES = ("pulse_angle", "pulse_phase", "gradient_moment", "event_time")


def unit(like: torch.Tensor, *entry: int) -> torch.Tensor:
    """Return the direction of one entry."""
    direction = torch.zeros_like(like)
    direction[entry] = 1.0
    return direction


def common_directions(sequence, rng, count: int = 4) -> dict[str, tuple[list, float]]:
    """Choose pulses; stretch times, and all moments along each axis, so that paths still meet.

    Long waiting stays: by that, magnetisation that is not refocused turns hundreds of times, and
    what little there is of it would make most of the slope.

    Returns directions and steps of the differences, which are small against all that matters,
    and large against rounding.
    """
    last = int(torch.nonzero(sequence.is_sample).max())
    pulses = rng.permutation(int(sequence.repetition_of_event[last]) + 1)[:count]
    pulse = [unit(sequence.pulse_angle, int(n)) for n in pulses]
    moment = sequence.gradient_moment
    return {
        "pulse_angle": (pulse, 1e-4),
        "pulse_phase": (pulse, 1e-4),
        "gradient_moment": ([moment * axis for axis in torch.eye(3)], 1e-7),
        "event_time": ([sequence.event_time * (sequence.event_time < LONG)], 1e-6),
    }


def single_directions(sequence, rng, count: int = 8) -> dict[str, tuple[list, float]]:
    """Choose events before the last sample, each of which is changed alone."""
    last = int(torch.nonzero(sequence.is_sample).max())
    events = [int(n) for n in rng.permutation(last + 1)[:count]]
    moment = sequence.gradient_moment
    return {
        "gradient_moment": ([unit(moment, n, int(rng.integers(3))) for n in events], 1e-4),
        "event_time": ([unit(sequence.event_time, n) for n in events], 1e-7),
    }


def gradients(sequence, data, weights, accuracy: float, **options) -> list[dict]:
    """Return the gradients of the losses with some weights (losses, samples, coils)."""
    inputs = {name: getattr(sequence, name).clone().requires_grad_() for name in NAMES}
    signal = Simulator(data, accuracy, **options)(dataclasses.replace(sequence, **inputs)).signal
    along = list(inputs.values())
    return [
        dict(zip(NAMES, torch.autograd.grad(signal, along, weight, retain_graph=True), strict=True))
        # Autograd's gradient of a complex signal is that of Re Σ w* S
        for weight in torch.from_numpy(weights).to(signal.dtype).conj()
    ]


def gradient_errors(sequence, data, rng, directions, **options) -> dict[tuple[str, float], float]:
    """Return errors of the gradients by tensor and accuracy, in accuracies."""
    samples, coils = int(sequence.is_sample.sum()), len(data.coil_sens)
    weights = rng.normal(size=(LOSSES, samples, coils, 2)) @ np.array([1, 1j])
    found = {
        accuracy: gradients(sequence, data, weights, accuracy, **options) for accuracy in ACCURACIES
    }
    errors = {}
    for name, (along, step) in directions.items():
        slope = slopes(sequence, data, name, along, step)
        reference = np.einsum("lsc,dsc->ld", weights, slope).real
        # What rounding makes of a tensor that has no effect
        nothing = 1e-4 * float(data.PD.sum()) * math.sqrt(samples)
        size = max(float(np.linalg.norm(reference)), nothing)
        for accuracy in ACCURACIES:
            value = [[float((loss[name] * d).sum()) for d in along] for loss in found[accuracy]]
            errors[name, accuracy] = float(np.linalg.norm(value - reference)) / size / accuracy
    return errors


def random_case(kind, angles, seed):
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    sequence = KINDS[kind](rng, angles)
    distribution = DISTRIBUTIONS[int(rng.integers(len(DISTRIBUTIONS)))]
    data = random_phantom(rng, distribution, voxels=int(rng.integers(4, 16)))
    return rng, sequence, data


@pytest.mark.parametrize("angles", ["anywhere", "special"])
@pytest.mark.parametrize("kind", KINDS)
def test_random_sequences(kind, angles):
    wrong = {}
    for seed in range(2):
        rng, sequence, data = random_case(kind, angles, seed)
        directions = common_directions(sequence, rng)
        for key, error in gradient_errors(sequence, data, rng, directions).items():
            if not error < ALLOWED:
                wrong[seed, *key] = round(error, 1)
    assert not wrong, f"(seed, tensor, accuracy): error in accuracies {wrong}"


@pytest.mark.parametrize("kind", ["TSE", "EPI", "STEAM", "DANTE", "hyperecho", "MRF"])
def test_each_moment_and_time_of_random_sequences(kind):
    """Paths that meet in a state have passed an event in different ways, or not at all."""
    rng, sequence, data = random_case(kind, "anywhere", 0)
    errors = gradient_errors(sequence, data, rng, single_directions(sequence, rng))
    assert max(errors.values()) < ALLOWED, errors


def few_voxels(B1: float = 1.0) -> mr0.SimData:
    rng = np.random.default_rng(0)
    data = random_phantom(rng, "homogeneous", "box", voxels=6)
    data.B1 = torch.full_like(data.B1, B1)
    return data


def gradient_echoes(angles) -> Score:
    score = Score()
    for number, angle in enumerate(angles):
        score.pulse(angle, number * (number + 1) * math.radians(117) / 2, "excitation")
        score.wait(2e-3, np.array([-20.0, 0.0, 0.0]))
        for _ in range(7):
            score.sample(1e-4, np.array([5.0, 0.0, 0.0]), 0.3)
        score.wait(5e-3, np.array([0.0, 0.0, 300.0]))
    return score


def spin_echo(excitation, refocusing) -> Score:
    score = Score()
    score.pulse(excitation, math.pi / 2, "excitation")
    score.wait(4e-3, np.array([20.0, 0.0, 150.0]))
    score.pulse(refocusing, 0.0, "refocusing")
    score.wait(3.7e-3, np.array([5.0, 0.0, 150.0]))
    for _ in range(6):
        score.sample(1e-4, np.array([5.0, 0.0, 0.0]), 0.0)
    return score


SMALLEST = {
    "gradient echo of no angle": gradient_echoes([0.0]),
    "gradient echoes of no angles": gradient_echoes([0.0] * 5),
    "gradient echoes of tiny angles": gradient_echoes([1e-5, -1e-6, 1e-4]),
    "one angle of three is none": gradient_echoes([0.3, 0.0, 0.3]),
    "gradient echo of half a turn": gradient_echoes([math.pi]),
    "two half turns": gradient_echoes([math.pi, math.pi]),
    "refocusing by none": spin_echo(math.pi / 2, 0.0),
    "refocusing by half a turn": spin_echo(math.pi / 2, math.pi),
    "excitation by none, refocused": spin_echo(0.0, math.pi),
    "excitation and refocusing by none": spin_echo(0.0, 0.0),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_slope_by_angle_where_power_is_zero(name):
    sequence = SMALLEST[name].finish()
    directions = {"pulse_angle": (torch.eye(len(sequence.pulse_angle)), 1e-4)}
    errors = gradient_errors(sequence, few_voxels(), np.random.default_rng(1), directions)
    assert max(errors.values()) < ALLOWED, errors


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_by_each_interval_of_an_echo_train(shape):
    """In the second echo meet the spin echo and the stimulated one, which skipped an interval."""
    score, crusher = Score(), np.array([40.0, 0.0, 0.0])
    score.pulse(math.pi / 2, math.pi / 2, "excitation")
    score.wait(5e-3, crusher)
    for _ in range(2):
        score.pulse(2.0, 0.0, "refocusing")
        score.wait(4.8e-3, crusher)
        score.sample(3e-4, np.zeros(3), 0.0)
        score.wait(4.9e-3, crusher)
    sequence = score.finish()
    data = random_phantom(np.random.default_rng(0), "homogeneous", shape, voxels=5)
    data.B0 = torch.linspace(-50, 80, 5)
    moment = sequence.gradient_moment
    directions = {
        "gradient_moment": ([unit(moment, n, 0) for n in range(6)], 1e-4),
        "event_time": ([unit(sequence.event_time, n) for n in range(6)], 1e-7),
    }
    errors = gradient_errors(sequence, data, np.random.default_rng(1), directions)
    assert max(errors.values()) < ALLOWED, errors


def test_every_backend_has_the_same_slope():
    sequence, data = gradient_echoes([0.0, 0.4, math.pi]).finish(), few_voxels()
    weights = np.ones((1, 21, 1), complex)
    (compiled,) = gradients(sequence, data, weights, 1e-3)
    (torched,) = gradients(sequence, data, weights, 1e-3, dtype=torch.float64)
    for name, value in compiled.items():
        torch.testing.assert_close(value, torched[name], rtol=1e-3, atol=1e-3 * float(value.norm()))


LINES = 6


def gre(flip: np.ndarray) -> pp.Sequence:
    """Play gradient echoes, each of a flip angle of its own."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    seq = pp.Sequence(system)
    gx = pp.make_trapezoid("x", flat_area=LINES / FOV, flat_time=LINES * 1e-4, system=system)
    before = pp.make_trapezoid("x", area=-gx.area / 2 - 0.5 / FOV, duration=1e-3, system=system)
    adc = pp.make_adc(LINES, dwell=1e-4, delay=gx.rise_time, system=system)
    spoiler = pp.make_trapezoid("z", area=1000, system=system)
    for line in range(LINES):
        area = (line - LINES // 2) / FOV
        gy = pp.make_trapezoid("y", area=area, duration=1e-3, system=system)
        back = pp.make_trapezoid("y", area=-area, duration=1e-3, system=system)
        phase = math.radians(117) * line * (line + 1) / 2
        rf = pp.make_block_pulse(
            flip[line], duration=2e-4, delay=1e-4, phase_offset=phase, use="excitation",
            system=system,
        )  # fmt: skip
        adc.phase_offset = phase
        seq.add_block(rf)
        seq.add_block(before, gy)
        seq.add_block(gx, adc)
        seq.add_block(back, spoiler)
    seq.set_definition("FOV", [FOV, FOV, FOV])
    return seq


def test_an_optimization_from_zero_ends_where_one_from_elsewhere_does():
    """The target is the image of larger angles, phases included: |image| has no slope at 0."""
    data = few_voxels(B1=0.9)
    with torch.no_grad():
        target = ImagingModel(gre, data, matrix=(LINES, LINES))(
            {"flip": torch.linspace(0.2, 0.6, LINES, dtype=torch.float64)}
        ).image

    def loss(parameters, image):
        return (image - target).abs().square().sum() / target.abs().square().sum()

    def run(start):
        return optimize(
            gre,
            loss,
            {"flip": Parameter(np.full(LINES, start), learning_rate=0.03)},
            data,
            iterations=100,
            matrix=(LINES, LINES),
            progress=False,
        ).history["loss"]

    elsewhere, from_zero = run(0.3), run(0.0)
    assert from_zero[0] == pytest.approx(1.0, abs=1e-6)
    assert elsewhere.min() < 1e-3
    assert from_zero.min() < 1e-3


def test_the_signal_of_no_angles_is_none():
    sequence, data = gradient_echoes([0.0] * 4).finish(), few_voxels()
    assert not phase_graph_signal(sequence, data).any()
    assert float(Simulator(data)(sequence).signal.abs().max()) < 1e-7

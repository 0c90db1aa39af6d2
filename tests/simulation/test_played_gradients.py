"""Gradients through pulses as they are played, against finite differences."""

import dataclasses
from functools import partial

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert
from pulseq_zero.simulation import Simulator
from support import pulses
from support.pulses import SYSTEM, adc, bloch, distance, echoes, phantom, selective

START = {
    "flip": 1.5,
    "refocusing": 2.4,
    "phase": 0.3,
    "area": 1200.0,
    "wait": 2.5e-3,
    "thickness": 5e-3,
}
STEPS = {"flip": 1e-5, "refocusing": 1e-5, "phase": 1e-5, "area": 0.1, "wait": 1e-7}
STEPS["thickness"] = 1e-8
WEIGHT = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)
MAPS = {"T1": 1e-3, "T2": 1e-5, "T2dash": 1e-5, "D": 1e-3, "B0": 1e-2, "B1": 1e-4}


def tissue():
    return phantom(
        8e-3, B0=(0.0, 30.0, -60.0), B1=(1.0, 0.8, 1.15), T1=1.0, T2=0.08, T2dash=0.05, D=2.0
    )


def loss(model, parameters, data, graph=None, dtype=torch.float64):
    simulator = Simulator(data, 1e-4, dtype=dtype)
    signal = simulator(model(parameters), graph).signal[:, 0]
    return (WEIGHT * signal.to(torch.complex128)).real.sum(), simulator


@pytest.fixture(scope="module")
def differentiated():
    """Both backends' gradients by everything, and how to evaluate the loss again."""
    # A rounded time has no slope for a finite difference
    model = SequenceModel(echoes, pulses="played", rounding="zero")
    random = np.random.default_rng(0)
    samples = len(echoes().get_block(5).rf.signal)
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in START.items()}
    values["shape"] = torch.from_numpy(1 + 0.01 * random.normal(size=samples))
    graph = Simulator(tissue(), 1e-4, dtype=torch.float64).graph(model(values))
    gradients = {}
    for dtype in (torch.float64, torch.float32):
        given = {name: value.clone().requires_grad_() for name, value in values.items()}
        data = tissue()
        for name in MAPS:
            setattr(data, name, getattr(data, name).clone().requires_grad_())
        loss(model, given, data, graph, dtype)[0].backward()
        gradients[dtype] = {name: value.grad for name, value in given.items()}
        gradients[dtype] |= {name: getattr(data, name).grad for name in MAPS}

    def at(changed, data=None):
        with torch.no_grad():
            return float(loss(model, {**values, **changed}, data or tissue(), graph)[0])

    return gradients, values, at


@pytest.mark.parametrize("name", [*START, "shape", *MAPS])
def test_compiled_gradients_are_those_of_torch(differentiated, name):
    gradients, _, _ = differentiated
    precise, found = gradients[torch.float64][name], gradients[torch.float32][name]
    assert float((found - precise).abs().max()) < 5e-5 * float(precise.abs().max())


@pytest.mark.parametrize("name", [*START, "shape"])
def test_gradients_are_finite_differences(differentiated, name):
    gradients, values, at = differentiated
    direction, step = torch.ones(()), STEPS.get(name, 1e-4)
    if name == "shape":
        direction = torch.randn(len(values[name]), generator=torch.Generator().manual_seed(2))
    above, below = (at({name: values[name] + way * step * direction}) for way in (1, -1))
    expected = float((gradients[torch.float64][name] * direction).sum())
    # What matters less than a tenth of the accuracy is differentiated along one path only
    assert (above - below) / (2 * step) == pytest.approx(expected, rel=3e-5)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_by_maps_are_finite_differences(differentiated, name):
    gradients, _, at = differentiated
    losses = []
    for way in (1, -1):
        data = tissue()
        changed = getattr(data, name).clone()
        changed[..., 1] += way * MAPS[name]
        setattr(data, name, changed)
        losses.append(at({}, data))
    expected = float(gradients[torch.float64][name].real[..., 1].sum())
    found = (losses[0] - losses[1]) / (2 * MAPS[name])
    assert found == pytest.approx(expected, rel=5e-3)


EACH = {
    "hard": (pulses.hard, 1e-3),
    "hard, off resonance": (pulses.hard_off_resonance, 1e-3),
    "sinc": (pulses.sinc, 1e-3),
    "Gauss": (pulses.gauss, 1e-3),
    "SLR": (pulses.slr, 1e-3),
    "adiabatic": (pulses.hypsec, 1e-3),
    "fat saturation": (pulses.fat_saturation, 1e-3),
    "fat saturation at 1.5 T": (partial(pulses.fat_saturation, 1.5), 1e-3),
    "asymmetric": (pulses.asymmetric, 1e-3),
    "spin lock": (pulses.spin_lock, 1e-3),
    "MLEV-4": (pulses.mlev, 1e-3),
    "off centre": (pulses.off_centre, 8e-3),
    "oblique": (pulses.oblique, 8e-3),
    "several slices": (partial(pulses.multi_slice, places=(-3e-3, 3e-3)), 1e-2),
    "selective inversion": (pulses.inversion, 1e-2),
    "VERSE": (pulses.verse, 1e-2),
    "spoiled": (partial(pulses.steady, False), 8e-3),
    "balanced": (partial(pulses.steady, True), 8e-3),
}


@pytest.mark.parametrize("kind", EACH)
def test_gradients_of_each_kind_are_finite_differences(kind):
    """By the strength of all pulses, and by what the spins are off resonance and feel of them."""
    make, thickness = EACH[kind]
    offset = -440.0 if kind == "fat saturation" else -220.0 if "1.5" in kind else 0.0
    model = SequenceModel(make, pulses="played")
    start = {"scale": 0.9, "B0": torch.tensor([0.0, 35.0]) + offset, "B1": torch.tensor([1.0, 0.8])}
    steps = {"scale": 1e-5, "B0": 1e-2, "B1": 1e-4}
    graph = None

    def at(**changed):
        values = {**start, **changed}
        data = phantom(thickness, B0=(0.0, 0.0), T1=1.0, T2=0.08)
        data.B0, data.B1 = values["B0"], values["B1"].to(torch.complex128)[None]
        # The same pieces whatever changes
        simulator = Simulator(data, 1e-4, dtype=torch.float64, pulse_relaxation=1.0)
        repetitions = model({"scale": torch.as_tensor(values["scale"], dtype=torch.float64)})
        signal = simulator(repetitions, graph).signal[:, 0]
        weight = torch.randn(
            len(signal), generator=torch.Generator().manual_seed(1), dtype=torch.complex128
        )
        return (weight * signal).real.sum(), simulator, repetitions

    _, simulator, repetitions = at()
    graph = simulator.graph(repetitions)
    leaves = {n: torch.as_tensor(v, dtype=torch.float64).requires_grad_() for n, v in start.items()}
    value, *_ = at(**leaves)
    value.backward()
    for name, step in steps.items():
        with torch.no_grad():
            up, down = (float(at(**{name: leaves[name] + way * step})[0]) for way in (1, -1))
        expected = float(leaves[name].grad.sum())
        size = float(leaves[name].grad.abs().sum())
        assert (up - down) / (2 * step) == pytest.approx(expected, rel=1e-3, abs=1e-3 * size)


def three(flips):
    sequence = pp.Sequence(SYSTEM)
    for number in range(3):
        rf, gz, rewinder = selective(flips[number], "excitation")
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(adc())
    return sequence


def test_flip_angles_of_zero_have_their_gradients():
    model = SequenceModel(three, pulses="played")
    data = phantom(8e-3)
    slopes = []
    for start in (0.0, 1e-3):
        flips = torch.full((3,), start, dtype=torch.float64, requires_grad=True)
        Simulator(data, 1e-4, dtype=torch.float64)(
            model({"flips": flips})
        ).signal.real.sum().backward()
        slopes.append(flips.grad)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-2, atol=1e-3)
    assert float(slopes[0].abs().min()) > 0.1


# Several transmit channels


def shimmed(excited=1.0, refocused=1.0):
    """Make an echo of pulses that are felt as so many times what they are, complex numbers."""
    rf, gz, rewinder = selective(
        1.5 * abs(excited), "excitation", phase_offset=np.pi / 2 + np.angle(excited)
    )
    again, slab, _ = selective(
        2.4 * abs(refocused), "refocusing", phase_offset=0.3 + np.angle(refocused)
    )
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    sequence.add_block(pp.make_delay(2e-3))
    sequence.add_block(again, slab)
    sequence.add_block(pp.make_delay(2e-3))
    sequence.add_block(adc())
    return sequence


SHIM = torch.tensor([[1.0, 0.4j], [0.6, 0.3 - 0.4j]], dtype=torch.complex64)


def two_channels(thickness=8e-3):
    data = phantom(thickness, B0=(0.0, 30.0, -50.0))
    fields = [[0.9, 0.7 + 0.2j, 0.8], [0.5, 0.4j, 0.6 - 0.3j]]
    data.B1 = torch.tensor(fields, dtype=torch.complex64)
    return data


def with_shim(shim):
    return dataclasses.replace(convert(shimmed(), pulses="played"), shim=shim)


def test_shims_weight_the_fields_of_the_channels():
    data, expected = two_channels(), 0
    found = Simulator(data, 1e-4)(with_shim(SHIM)).signal[:, 0].numpy()
    for voxel, felt in enumerate((SHIM @ data.B1).T.numpy()):
        alone = phantom(8e-3, B0=(float(data.B0[voxel]),), PD=(float(data.PD[voxel]),))
        alone.voxel_pos = data.voxel_pos[voxel : voxel + 1]
        expected = expected + bloch(shimmed(*felt), alone, spins=601, step=1e-5)
    assert distance(found, expected) < 1e-3


def test_gradients_by_shims_are_finite_differences():
    way = torch.tensor([[0.3, 1j], [1.0 - 0.5j, 0.2]], dtype=torch.complex64)

    def loss(shim):
        signal = Simulator(two_channels(), 1e-4, dtype=torch.float64)(with_shim(shim)).signal
        return (WEIGHT[: len(signal)] * signal[:, 0]).real.sum()

    shim = SHIM.to(torch.complex128).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(shim), shim)
    slope = float((gradient.conj() * way).real.sum())
    with torch.no_grad():
        change = loss(SHIM + 1e-4 * way.to(torch.complex128)) - loss(
            SHIM - 1e-4 * way.to(torch.complex128)
        )
    assert slope == pytest.approx(float(change) / 2e-4, rel=2e-3)

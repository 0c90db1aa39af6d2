"""Which voxels stand for a phantom, and what it answers to dephasing."""

import dataclasses
import math

import MRzeroCore as mr0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import Simulator, Thresholds, simulate
from pulseq_zero.simulation.pdg.representatives import Answer, Representatives
from support.sequences import CASES, FOV, Writer, phantom, turbo_spin_echo


def test_every_voxel_has_one_that_is_much_like_it():
    data = phantom(32)
    chosen = Representatives.of(data)
    apart = np.abs(chosen.transmit[0][:, None] - data.B1.abs().numpy()).min(0)
    assert apart.max() < 0.05
    assert chosen.share.sum() == pytest.approx(1)


def test_a_single_voxel_far_from_all_others_has_one_of_its_own():
    data = phantom(32)
    data.B1[:, 100], data.T2[5] = 0.1, 3.0
    chosen = Representatives.of(data)
    weight = data.PD / data.PD.sum()
    alone = np.abs(chosen.transmit[0] - 0.1) < 1e-6
    assert chosen.share[alone] == pytest.approx(float(weight[100]))
    assert chosen.share[1 / chosen.R2 > 2.9] == pytest.approx(float(weight[5]))


def test_voxels_alike_need_only_one():
    data = phantom(16)
    for name in ("T1", "T2", "T2dash", "D", "B1"):
        values = getattr(data, name)
        setattr(data, name, torch.full_like(values, values.flatten()[0].item()))
    chosen = Representatives.of(data)
    assert len(chosen.R1) == 1
    start = torch.ones(len(data.PD))
    start[::2] = -1
    assert sorted(Representatives.of(data, start).initial.real) == [-1, 1]


@pytest.mark.parametrize("voxels", [1, 2, 5])
def test_few_voxels_are_enough(voxels):
    data = phantom(8)
    few = torch.arange(len(data.PD)) < voxels
    for name in ("PD", "T1", "T2", "T2dash", "D", "B0", "voxel_pos"):
        setattr(data, name, getattr(data, name)[few])
    data.B1, data.coil_sens = data.B1[:, few], data.coil_sens[:, few]
    assert len(Representatives.of(data).R1) <= voxels
    signal = simulate(CASES["tse"](8), data, 1e-3).signal
    assert bool(signal.isfinite().all()) and float(signal.abs().max()) > 0


def test_answer_is_the_phantoms_signal():
    """Root mean square of the signal at a frequency, its neighbours, and halfway between."""
    data = phantom(16, coils=2)
    part = (data.voxel_pos[:, 0] > 0.01).long()
    answer = Answer.of(data, part.numpy())
    step = 1 / answer.extent.astype(float)
    unit = float((data.coil_sens.abs().square().sum(0) * data.PD).sum() / data.PD.sum()) ** 0.5
    for number in ((0, 0, 0), (2, 1, 0), (3, 14, 0)):
        neighbours = np.stack(np.meshgrid(*([[-1, -0.5, 0, 0.5, 1]] * 3)), -1).reshape(-1, 3)
        k = torch.from_numpy((np.array(number) + neighbours) * step)
        waves = torch.exp(2j * math.pi * (k @ data.voxel_pos.double().T))
        for column, inside in enumerate((part == 0, part == 1, part >= 0)):
            weights = data.coil_sens * (data.PD / data.PD.sum() / unit * inside)
            power = (waves @ weights.cdouble().T).abs().square().sum(1).mean()
            assert answer.amplitude[number][column] == pytest.approx(float(power.sqrt()), rel=1e-4)


@pytest.mark.parametrize("span", [150.0, 1500.0, 3000.0])
def test_a_uniform_object_is_seen_between_the_zeros_of_its_spectrum(span):
    """At all frequencies of its grid but one it has no signal, and yet some in between."""
    offsets = torch.linspace(-span, span, 9)
    data = few_voxels_in_a_row(offsets)
    writer = Writer()
    writer.pulse(60, 0, "excitation")
    for _ in range(4):
        writer.sample(3e-4, 0.0)
    signal = simulate(writer.finish(), data, 1e-3).signal[:, 0].abs()
    time = 3e-4 * torch.arange(1, 5, dtype=torch.float64)
    turned = torch.exp(2j * math.pi * time[:, None] * offsets.double()).sum(1)
    expected = math.sin(math.radians(60)) * turned.abs()
    torch.testing.assert_close(signal.double(), expected, rtol=1e-3, atol=1e-3)


def few_voxels_in_a_row(offsets):
    """Make box voxels along x with these frequencies, and no relaxation to speak of."""
    count = len(offsets)
    shape = (count, 1, 1)
    PD, affine = torch.ones(shape), torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0]))[:3]
    return mr0.VoxelGridPhantom(
        PD=PD, T1=1e9 * PD, T2=1e9 * PD, T2dash=1e9 * PD, D=0 * PD,
        B0=offsets.reshape(shape), B1=PD[None].cfloat(), coil_sens=PD[None].cfloat(), affine=affine,
    ).build(voxel_shape="box")  # fmt: skip


def test_off_resonance_moves_and_spreads_the_answer():
    """A gradient of the field is one; the rest leaves the mean of its phases."""
    data = phantom(16)
    gradient, rest = torch.tensor([200.0, -100.0, 0.0]), torch.zeros(len(data.PD))
    rest[::3] = 30.0
    data.B0 = data.voxel_pos @ gradient + rest
    answer = Answer.of(data, np.zeros(len(data.PD), np.int64))
    leftover = data.B0.double() - data.voxel_pos.double() @ torch.from_numpy(answer.gradient)
    assert answer.gradient == pytest.approx(gradient.numpy(), abs=30)
    weight = data.PD.double() / data.PD.double().sum()
    for number in (0, 5, 40):
        turned = torch.exp(2j * math.pi * number * answer.time_step * leftover)
        expected = float((weight * turned).sum().abs())
        assert answer.coherence[number, 0] == pytest.approx(expected, abs=0.02)


def test_large_grids_are_averaged_over_neighbouring_frequencies():
    data = phantom(8)
    data.voxel_pos = data.voxel_pos * 80
    answer = Answer.of(data, np.zeros(len(data.PD), np.int64))
    assert answer.amplitude.size // 2 <= 2**17
    # Voxels so far apart see their spectrum again and again
    assert answer.amplitude[0, 0, 0, 0] > 0.9 * answer.amplitude[..., 0].max()


def test_voxels_off_a_grid_answer_by_their_shape():
    data = mr0.CustomVoxelPhantom(
        [[0.01, 0.02, 0.0], [-0.013, 0.005, 0.0]], PD=1.0, T1=1.0, T2=0.1, T2dash=0.05, D=1.0,
        voxel_size=0.004, voxel_shape="box",
    ).build()  # fmt: skip
    repetitions = turbo_spin_echo(8)
    exact = simulate(repetitions, data, 1e-6)
    coarse = simulate(repetitions, data, 1e-2)
    assert coarse.states < exact.states
    error = (coarse.signal - exact.signal).norm() / exact.signal.norm()
    assert float(error) < 2e-2


def test_wrong_shims_are_refused():
    shim = torch.ones(4, 3, dtype=torch.complex64)
    repetitions = dataclasses.replace(CASES["gre"](4), shim=shim)
    with pytest.raises(SimulationError, match="shims 3 transmit channels, but the phantom has 1"):
        simulate(repetitions, phantom(8), 1e-2)


@settings(max_examples=25, deadline=None)
@given(
    pulses=st.lists(
        st.tuples(st.integers(5, 180), st.integers(0, 359), st.integers(-3, 3), st.integers(1, 40)),
        min_size=2,
        max_size=6,
    ),
    shape=st.sampled_from(["sinc", "box", "point"]),
)
def test_the_accuracy_holds_for_any_sequence(pulses, shape):
    write = Writer()
    for degrees, phase, moment, milliseconds in pulses:
        write.pulse(degrees, phase, "undefined")
        write.wait(1e-3 * milliseconds, kx=moment / FOV, ky=0.3 * moment / FOV)
        for _ in range(8):
            write.sample(1e-4, kx=1 / FOV)
    repetitions, data = write.finish(), phantom(8, shape=shape)
    exact = Simulator(data, thresholds=Thresholds(10000, 0.0, 0.0, 0.0))(repetitions).signal
    for accuracy in (1e-1, 1e-2, 1e-3):
        error = simulate(repetitions, data, accuracy).signal - exact
        assert float(error.norm()) < 10 * accuracy * float(exact.norm())

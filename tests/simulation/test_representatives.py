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
from pulseq_zero.simulation.representatives import Answer, Representatives
from sequences import CASES, FOV, Writer, phantom, turbo_spin_echo


def test_they_are_medians_of_equal_parts():
    data = phantom(32)
    chosen = Representatives.of(data)
    field, T2 = np.abs(chosen.transmit.sum(0)).reshape(4, 4), 1 / chosen.R2.reshape(4, 4)
    assert (np.diff(field.max(1)) > 0).all()
    assert (np.diff(T2, axis=1) > 0).all()
    weight, all_fields = data.PD.numpy(), data.B1.sum(0).abs().numpy()
    for number, part in enumerate(field):
        lowest, highest = (
            weight[all_fields < edge].sum() / weight.sum() for edge in (part.min(), part.max())
        )
        assert number / 4 - 0.01 < lowest < highest < (number + 1) / 4 + 0.01


@pytest.mark.parametrize("voxels", [1, 2, 5])
def test_few_voxels_are_enough(voxels):
    data = phantom(8)
    few = torch.arange(len(data.PD)) < voxels
    for name in ("PD", "T1", "T2", "T2dash", "D", "B0", "voxel_pos"):
        setattr(data, name, getattr(data, name)[few])
    data.B1, data.coil_sens = data.B1[:, few], data.coil_sens[:, few]
    assert len(Representatives.of(data).R1) == 16
    signal = simulate(CASES["tse"](8), data, 1e-3).signal
    assert bool(signal.isfinite().all()) and float(signal.abs().max()) > 0


@pytest.mark.parametrize("shape", ["sinc", "box", "point"])
def test_answer_is_the_phantoms_signal(shape):
    """Mean of the squared signal at a frequency and its neighbours, voxel shape apart."""
    data = phantom(16, shape=shape)
    answer = Answer.of(data)
    step = 1 / answer.extent.astype(float)
    for number in ((0, 0, 0), (2, 1, 0), (3, 14, 0)):
        neighbours = np.stack(np.meshgrid(*([[-1, 0, 1]] * 3)), -1).reshape(-1, 3)
        k = torch.from_numpy((np.array(number) + neighbours) * step)
        turns = k @ data.voxel_pos.double().T
        signal = (data.PD * torch.exp(2j * math.pi * turns)).sum(1) / data.PD.sum()
        assert answer.power[number] == pytest.approx(float(signal.abs().square().mean()), rel=1e-4)
    assert (answer.width > 0).all() == (shape == "box")
    assert np.isfinite(answer.limit).all() == (shape == "sinc")


def test_voxels_off_a_grid_answer_to_all_frequencies():
    data = mr0.CustomVoxelPhantom(
        [[0.01, 0.02, 0.0], [-0.013, 0.005, 0.0]], PD=1.0, T1=1.0, T2=0.1, T2dash=0.05, D=1.0,
        voxel_size=0.004, voxel_shape="box",
    ).build()  # fmt: skip
    assert Answer.of(data).power.shape == (1, 1, 1)
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

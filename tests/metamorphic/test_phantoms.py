"""Signals add over voxels and coils, and what moves with the gradients is not seen to move."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.cases import Case, cases
from support.engines import (
    ENGINES,
    EXAMPLES,
    FEW_VOXELS,
    GRAPHS,
    assert_same,
    assert_same_but_for_spins,
)
from support.random_phantoms import changed, chosen_voxels, random_parts


@pytest.mark.parametrize("engine", GRAPHS)
@EXAMPLES
@given(case=cases())
def test_whole_and_parts(engine, case):
    sequence, data, rng = case.draw()
    signal = GRAPHS[engine]
    parts = sum(signal(sequence, part) for part in random_parts(data, rng))
    assert_same(parts, signal(sequence, data), data)


@pytest.mark.parametrize("engine", GRAPHS)
@EXAMPLES
@given(case=cases())
def test_voxels_permuted(engine, case):
    sequence, data, rng = case.draw()
    signal = GRAPHS[engine]
    other = chosen_voxels(data, rng.permutation(len(data.PD)))
    assert_same(signal(sequence, other), signal(sequence, data), data)


@pytest.mark.parametrize("engine", GRAPHS)
@EXAMPLES
@given(case=cases())
def test_voxels_split(engine, case):
    """Some voxels become several, each with its share."""
    sequence, data, rng = case.draw()
    share = rng.integers(1, 4, len(data.PD))
    other = chosen_voxels(data, np.repeat(np.arange(len(share)), share))
    other.PD = other.PD / torch.from_numpy(np.repeat(share, share)).float()
    signal = GRAPHS[engine]
    assert_same(signal(sequence, other), signal(sequence, data), data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("engine", GRAPHS)
@EXAMPLES
@given(case=cases())
def test_empty_voxels_added(engine, case):
    """Without protons, whatever their transmit field and relaxation."""
    sequence, data, rng = case.draw()
    voxels = len(data.PD)
    other = chosen_voxels(data, np.concatenate([np.arange(voxels), rng.permutation(voxels)]))
    empty = torch.arange(2 * voxels) >= voxels
    other.PD, other.B1 = torch.where(empty, 0.0, other.PD), torch.where(empty, 0.3, other.B1)
    signal = GRAPHS[engine]
    assert_same(signal(sequence, other), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases(), factor=st.floats(1e-3, 1e3))
def test_proton_density_scaled(engine, case, factor):
    sequence, data, _ = case.draw()
    signal, other = ENGINES[engine], changed(data, PD=data.PD * factor)
    assert_same(signal(sequence, other), factor * signal(sequence, data), other)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases())
def test_coils_are_linear(engine, case):
    """Each alone sees what it sees among others, and a sum of coils sees the sum."""
    sequence, data, rng = case.draw(coils=3)
    signal = ENGINES[engine]
    mixing = rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3))
    mixed = torch.from_numpy(mixing).to(torch.complex64) @ data.coil_sens
    expected = signal(sequence, data) @ mixing.T
    assert_same(signal(sequence, changed(data, coil_sens=mixed)), expected, data)
    alone = signal(sequence, changed(data, coil_sens=data.coil_sens[1:2]))
    assert_same(alone, signal(sequence, data)[:, 1:2], data)


def turned(sequence, data, axes: torch.Tensor):
    """Permute and mirror the axes of object and gradients alike."""
    size = axes.abs().float()
    other = changed(data, voxel_pos=data.voxel_pos @ axes.float().T, nyquist=size @ data.nyquist)
    return replace(sequence, gradient_moment=sequence.gradient_moment @ axes.T), other


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(
    case=cases(),
    order=st.permutations([0, 1, 2]),
    sign=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_object_and_gradients_turned_and_mirrored(engine, case, order, sign):
    sequence, data, _ = case.draw(voxels=FEW_VOXELS)
    axes = torch.eye(3, dtype=torch.float64)[order] * torch.tensor(sign, dtype=torch.float64)
    signal = ENGINES[engine]
    same = assert_same_but_for_spins if engine == "judge" else assert_same
    same(signal(*turned(sequence, data, axes)), signal(sequence, data), data)


@pytest.mark.parametrize("engine", GRAPHS)
@EXAMPLES
@given(case=cases(shapes=("point",)), angles=st.tuples(*[st.floats(-3, 3)] * 3))
def test_points_and_gradients_turned_by_any_angle(engine, case, angles):
    sequence, data, _ = case.draw()
    matrix, turn = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for n, angle in enumerate(angles):
        turn[n, (n + 1) % 3], turn[(n + 1) % 3, n] = angle, -angle
    matrix = torch.linalg.matrix_exp(turn)
    other = changed(data, voxel_pos=data.voxel_pos @ matrix.float().T)
    moved = replace(sequence, gradient_moment=sequence.gradient_moment @ matrix.T)
    signal = GRAPHS[engine]
    assert_same(signal(moved, other), signal(sequence, data), data)


# Played pulses last as long as the test lets them
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "played"])
@EXAMPLES
@given(case=cases(), factor=st.floats(0.3, 3))
def test_time_in_other_units(engine, case, factor):
    sequence, data, _ = case.draw()
    slower = replace(sequence, event_time=sequence.event_time * factor)
    times = {name: getattr(data, name) * factor for name in ("T1", "T2", "T2dash")}
    other = changed(data, **times, B0=data.B0 / factor, D=data.D / factor)
    signal = ENGINES[engine]
    assert_same(signal(slower, other), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases(shapes=("box", "point")), factor=st.sampled_from([0.5, 2.0, 3.0]))
def test_length_in_other_units(engine, case, factor):
    """Not for sinc voxels, whose edge in k-space has a width of its own."""
    sequence, data, _ = case.draw()
    smaller = replace(sequence, gradient_moment=sequence.gradient_moment / factor)
    place, nyquist = data.voxel_pos * factor, data.nyquist / factor
    other = changed(data, voxel_pos=place, nyquist=nyquist, D=data.D * factor**2)
    signal = ENGINES[engine]
    assert_same(signal(smaller, other), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
def test_maps_may_be_views(engine):
    """Conjugates and strides of other tensors are maps like any others."""
    sequence, data, _ = Case("TSE", "anywhere", "smooth", "box", 0).draw()
    views = changed(
        data,
        B1=data.B1.conj().resolve_conj().conj(),
        coil_sens=data.coil_sens.conj().resolve_conj().conj(),
        B0=data.B0.repeat_interleave(2)[::2],
    )
    assert_same(ENGINES[engine](sequence, views), ENGINES[engine](sequence, data), data)

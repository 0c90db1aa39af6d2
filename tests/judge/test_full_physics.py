"""Sub-pulses explain most of what pulses that take their time do otherwise than rotations."""

from pathlib import Path

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.conversion.options import Pulses
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.reconstruction import reconstruct
from pulseq_zero.judge import converged_isochromats
from pulseq_zero.judge.seq import read_course
from pulseq_zero.simulation import simulate
from support import pulses
from support.pulses import bloch, distance, phantom
from support.sequences import FOV

ROOT = Path(__file__).parents[2]
MATRIX, THICKNESS = 8, 5e-3
TRAIN = np.tile([np.pi / 2] + [0.83 * np.pi] * 4, (3, 1))
SEQUENCES = {
    "tse": ("tse.py:tse", {"n_read": MATRIX}, {"flip_angles": TRAIN}),
    "flair": ("epi_ir.py:epi_ir", {"n_read": MATRIX, "n_phase": MATRIX}, {"TI": np.array(1.2)}),
}


def slab(extent: float) -> mr0.SimData:
    """Make box voxels of so many slice thicknesses along z, with magnetisation in proportion."""
    axis = (torch.arange(MATRIX) - MATRIX // 2) / MATRIX
    x, y = (part[..., None] for part in torch.meshgrid(axis, axis, indexing="ij"))
    radius, one = x**2 + y**2, torch.ones(MATRIX, MATRIX, 1)
    size = torch.tensor([FOV / MATRIX, FOV / MATRIX, extent * THICKNESS])
    return mr0.VoxelGridPhantom(
        PD=extent * (radius < 0.2).float(),
        T1=0.9 + x * one,
        T2=0.08 * one,
        T2dash=0.05 * one,
        D=0 * one,
        B0=20 * x * one,
        B1=(1.05 - 0.2 * radius)[None],
        coil_sens=one[None],
        affine=torch.diag(1000 * size) @ torch.eye(3, 4),
    ).build(voxel_shape="box")


@pytest.mark.parametrize("name", SEQUENCES)
def test_played_pulses_have_full_physics(name, tmp_path):
    """What instantaneous pulses excite is a slice with sharp edges, as the phantom ends there."""
    place, settings, values = SEQUENCES[name]
    function = load_function(place, ROOT / "sequences")
    function(**settings, **values).write(str(tmp_path / "exported.seq"))
    parameters = {key: torch.from_numpy(value) for key, value in values.items()}
    both_sides = slab(2.0)
    judge = converged_isochromats(
        read_course(tmp_path / "exported.seq", "full"), both_sides, tolerance=5e-3, largest=2**14
    )

    def image(pulses: Pulses, data: mr0.SimData) -> torch.Tensor:
        model = SequenceModel(function, arguments=settings, pulses=pulses)
        repetitions = model(parameters).detach()
        signal = simulate(repetitions, data, 1e-5).signal
        return reconstruct(signal, repetitions.kspace(), (MATRIX, MATRIX), (FOV, FOV))

    def distance(found: torch.Tensor) -> float:
        return float((found - expected).norm() / expected.norm())

    at_once = image("instantaneous", slab(1.0))
    kspace = SequenceModel(function, arguments=settings)(parameters).detach().kspace()
    expected = reconstruct(judge.signal.to(at_once.dtype), kspace, (MATRIX, MATRIX), (FOV, FOV))
    played = image("played", both_sides)
    assert judge.scatter < 5e-3
    assert distance(played) < 0.25 * distance(at_once)
    assert distance(played) < 1e-2


@pytest.mark.parametrize("make", [pulses.hypsec, pulses.spin_lock])
def test_spins_relax_during_long_pulses(make, tmp_path):
    sequence, data = make(), phantom(B0=(0.0, 60.0), B1=(1.0, 0.8), T1=1.0, T2=0.05)
    sequence.write(str(tmp_path / "long.seq"))
    course = read_course(tmp_path / "long.seq", "full", rf_step=4e-6)
    judge = converged_isochromats(course, data, tolerance=1e-3)
    expected = bloch(sequence, data)
    assert distance(judge.signal[:, 0].numpy(), expected) < 5e-3

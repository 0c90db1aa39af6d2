"""Sequences and phantoms with known answers."""

from __future__ import annotations

import MRzeroCore as mr0
import numpy as np
import pypulseq as pp
import torch

T1, T2 = 1.0, 0.1


def inversion_recovery(TI: float = 0.5, flip: float = np.pi / 2) -> pp.Sequence:
    """Invert, wait, excite, sample one line."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    seq = pp.Sequence(system)
    settings = {"duration": 1e-3, "delay": 100e-6, "system": system}
    rf_inv = pp.make_block_pulse(flip_angle=np.pi, use="inversion", **settings)
    rf = pp.make_block_pulse(flip_angle=flip, use="excitation", **settings)
    spoiler = pp.make_trapezoid("z", area=2000, system=system)
    gx = pp.make_trapezoid("x", flat_area=8 / 0.2, flat_time=0.8e-3, system=system)
    gx_pre = pp.make_trapezoid("x", area=-gx.area / 2 - 2.5, system=system)
    adc = pp.make_adc(num_samples=8, dwell=1e-4, delay=gx.rise_time, system=system)
    waited = 1120e-6 - 600e-6 + pp.calc_duration(spoiler) + 600e-6
    seq.add_block(rf_inv)
    seq.add_block(spoiler)
    seq.add_block(pp.make_delay(round((TI - waited) / 1e-5) * 1e-5))
    seq.add_block(rf)
    seq.add_block(gx_pre)
    seq.add_block(gx, adc)
    seq.set_definition("FOV", [0.2, 0.2, 0.2])
    return seq


def one_voxel(T1: float = T1) -> mr0.SimData:
    """Return a single voxel at the centre, with known relaxation."""
    return mr0.CustomVoxelPhantom(
        pos=[[0.0, 0.0, 0.0]],
        PD=1.0,
        T1=T1,
        T2=T2,
        T2dash=10.0,
        D=0.0,
        B0=0.0,
        B1=1.0,
        voxel_size=0.02,
    ).build()


def signal_loss(parameters: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """Return the image's energy."""
    return image.abs().square().sum()


def negative_signal_loss(parameters: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """Return the negative of the image's energy."""
    return -signal_loss(parameters, image)

"""Durations of blocks that are off their raster, or leave it with the parameters, are named."""

import warnings

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion.rasters import off_raster, timing_fault, warn_of_unrounded
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.tracing import trace
from support.toy import one_voxel


def waits(wait=1e-3, *, rounds=False, more=False):
    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(0.5, duration=1e-3, delay=1e-4, use="excitation"))
    if rounds:
        wait = np.round(wait / 1e-5) * 1e-5
    seq.add_block(pp.make_delay(wait))
    seq.add_block(pp.make_adc(4, duration=1e-3))
    if more:
        seq.add_block(pp.make_delay(2 * wait))
    return seq


def test_a_block_off_the_raster_is_named():
    assert off_raster(waits()) is None
    assert off_raster(waits(1.2345e-3)) == (
        "block 2 lasts 1.2345 ms, which is no multiple of the raster of 10 us; round it in the "
        "sequence function, as in round(time / raster) * raster"
    )
    assert ", as in 1 other blocks; round" in off_raster(waits(1.2341e-3, more=True))
    # 124 rasters and 4.5 us
    (fault,) = waits(1.2345e-3).check_timing()[1]
    assert timing_fault(fault).startswith("block 2: the duration of block is 1.2345 ms, ")


def test_a_duration_that_follows_a_parameter_unrounded_is_told_once():
    given = {"wait": torch.tensor(1e-3, dtype=torch.float64)}
    with pytest.warns(UserWarning, match=r"block 2 follows .* of 10 us, as in 1 other blocks"):
        warn_of_unrounded(trace(waits, given, {"more": True}).sequence, given)
    model = ImagingModel(waits, one_voxel(), matrix=(4, 1), fov=(0.1, 0.1))
    with pytest.warns(UserWarning, match="what is optimized cannot be written"):
        model(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(given)
        warn_of_unrounded(trace(waits, given, {"rounds": True}).sequence, given)

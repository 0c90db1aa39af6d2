"""Numbers too small for all bits of a float32."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pulseq_zero.simulation.denormals import denormals_flushed

if not torch.set_flush_denormal(False):
    pytest.skip("the processor cannot flush denormals", allow_module_level=True)


def are_flushed():
    return bool(np.float32(1e-30) * np.float32(1e-10) == 0)


def test_denormals_are_zero_inside_only():
    assert not are_flushed()
    with denormals_flushed():
        assert are_flushed()
    assert not are_flushed()


def test_threads_that_are_started_inside_do_likewise():
    with denormals_flushed(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(are_flushed).result()


def test_what_was_set_before_stays():
    torch.set_flush_denormal(True)
    try:
        with denormals_flushed():
            pass
        assert are_flushed()
    finally:
        torch.set_flush_denormal(False)


def test_an_error_inside_restores_it():
    with pytest.raises(ValueError, match="inside"), denormals_flushed():
        raise ValueError("inside")
    assert not are_flushed()

"""A sequence function that returns several sequences by their names."""

from __future__ import annotations

import math
from functools import partial

import torch

from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from support.echoes import N, bar, echo_train, two_echo_trains

QUIET = {"progress": False, "pulses": "instantaneous", "matrix": (N, 1), "iterations": 3}


def alike(acquisition):
    full, half = (each.images.abs().mean() for each in acquisition.values())
    assert list(acquisition) == ["full", "half"]
    return (full - 2 * half).square()


def test_they_are_optimized_as_functions_by_these_names():
    start = {"spacing": Parameter(0.02, lower=0.006, learning_rate=1e-3)}
    functions = {"full": echo_train, "half": partial(echo_train, flip_angle=math.pi / 2)}
    returned = optimize(two_echo_trains, alike, start, bar(), **QUIET)
    named = optimize(functions, alike, start, bar(), **QUIET)
    assert torch.equal(returned.parameters["spacing"], named.parameters["spacing"])
    assert not torch.equal(returned.best["spacing"], start["spacing"].start)

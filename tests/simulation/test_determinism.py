"""The prepass lists states in random order; what is made of it repeats."""

import torch

from pulseq_zero.simulation import Simulator
from sequences import gradient_echo, inversion_epi, phantom, turbo_spin_echo


def repeated(make):
    repetitions = make()
    data = phantom(16)
    return [Simulator(data, 1e-3)(repetitions) for _ in range(5)]


def test_the_signal_repeats():
    for make in (turbo_spin_echo, inversion_epi, gradient_echo):
        first, *others = repeated(make)
        assert first.states > 3
        for other in others:
            assert other.states == first.states
            torch.testing.assert_close(other.signal, first.signal, rtol=1e-5, atol=1e-6)

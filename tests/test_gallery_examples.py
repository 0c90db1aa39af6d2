"""The gallery's examples in Python, held against closed forms; each with few iterations."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def example(root):
    """Import an example as its script does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root / "docs/gallery")
        patched.chdir(root)
        yield import_module


def test_echo_times_are_as_the_definition_says(example):
    waits = torch.tensor([0.001, 0.02, 0.0, 0.003], dtype=torch.float64)
    echo_times = example("echo_times")
    sequence = echo_times.multi_echo_gre(waits=waits.numpy(), n_phase=1, n_dummy=0)
    assert sequence.check_timing()[0]
    samples, *_ = sequence.calculate_kspace()
    times = sequence.adc_times()[0].reshape(4, 32)[:, 16] - sequence.rf_times()[0][0]
    np.testing.assert_allclose(times, sequence.definitions["TE"], atol=1e-4)
    np.testing.assert_allclose(samples[0].reshape(4, 32)[:, 16], 0, atol=1e-3)


def test_the_bound_of_echoes_is_that_of_an_exponential(example):
    echo_times = example("echo_times")
    precision = echo_times.Precision(echo_times.voxels([0.8], [0.075], [0.18]))
    first, T2star, found, expected = torch.ones(1, 1), precision.apparent, [], []
    for wait in (0.0, 0.02):
        waits = echo_times.equal(wait)
        with torch.no_grad():
            found.append(float(precision(echo_times.one_line()({"waits": waits}))[0]))
        times = echo_times.times_of(waits)
        expected.append(float(echo_times.rate_deviation(first, T2star[None], times)))
    # Samples around an echo, which the closed form has not, are a sixth of T2* away at most
    assert found[0] / found[1] == pytest.approx(expected[0] / expected[1], rel=0.02)


def test_a_fit_of_exponentials_finds_their_rate(example):
    times = torch.tensor([0.003, 0.02, 0.05, 0.09])
    T2star = torch.tensor([[0.02, 0.05, 0.1]])
    images = 3 * torch.exp(-times.view(-1, 1, 1) / T2star)
    found = example("echo_times").fitted(images, times)
    torch.testing.assert_close(found, T2star.double(), rtol=1e-5, atol=0)


def test_two_times_are_the_best_of_all(example):
    share, second, _ = example("echo_times").two_times(0.05, first=0.0)
    x, w = np.meshgrid(np.linspace(0.5, 3, 501), np.linspace(0.02, 0.98, 481), indexing="ij")
    variance = (1 / w + np.exp(2 * x) / (1 - w)) / x**2
    best = np.unravel_index(variance.argmin(), variance.shape)
    assert second / 0.05 == pytest.approx(x[best], abs=5e-3)
    assert share == pytest.approx(w[best], abs=2e-3)


def test_optimized_echoes_leave_the_equidistant_ones_behind(example):
    echo_times = example("echo_times")
    precision = echo_times.Precision(echo_times.voxels(**echo_times.TISSUES))
    start = echo_times.equal(0.02)
    waits = echo_times.optimized(precision, start, iterations=8)
    model = echo_times.one_line()
    with torch.no_grad():
        before, after = (
            float(precision(model({"waits": each}))[0].mean()) for each in (start, waits)
        )
    assert after < 0.98 * before
    assert math.isfinite(after)

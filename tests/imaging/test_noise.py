"""Receiver noise: as strong as its definition says, white, and the same where it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.noise import noise_deviation, noisy_acquisitions
from pulseq_zero.phantom import Phantom


def noisy_images(acquisition, deviation, **drawn):
    return [each.image for each in noisy_acquisitions(acquisition, deviation, **drawn)]


def with_coils(phantom: Phantom, count: int) -> Phantom:
    """Return the phantom with some coils that are alike."""
    pools = {
        name: replace(pool, coil_sensitivity=pool.coil_sensitivity.expand(count, -1, -1))
        for name, pool in phantom.pools.items()
    }
    return replace(phantom, pools=pools)


@pytest.fixture(scope="module")
def acquired(tse, small_brain):
    with torch.no_grad():
        return ImagingModel(tse, small_brain, accuracy=1e-2)({})


@pytest.fixture(scope="module")
def brain(small_brain):
    return small_brain.mask("brain", (64, 64), 0.5)


@pytest.mark.parametrize("snr", [5.0, 40.0])
def test_the_ratio_is_that_of_the_mean_magnitude_to_the_real_part(acquired, brain, snr):
    deviation = noise_deviation(acquired, brain, snr)
    images = torch.stack(noisy_images(acquired, deviation, count=200, seed=0))
    noise = images - acquired.image
    mean = float(acquired.image.abs()[brain].mean())
    for part in (noise.real, noise.imag):
        assert mean / float(part.std()) == pytest.approx(snr, rel=0.01)
        # Everywhere alike
        assert mean / float(part.std(0)[brain].mean()) == pytest.approx(snr, rel=0.02)
    assert abs(float((noise.real * noise.imag).mean())) < 0.01 * float(noise.real.var())


def test_realizations_are_independent_and_those_of_a_seed(acquired):
    def drawn(seed):
        images = noisy_images(acquired, 1.0, count=3, seed=seed)
        return torch.stack(images) - acquired.image

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(first, again)
    for one, two in ((first[0], first[1]), (first[1], first[2]), (first[0], other[0])):
        correlation = (one * two.conj()).sum() / (one.norm() * two.norm())
        assert abs(correlation) < 0.05


def test_start_and_optimized_sequence_are_given_the_same_noise(acquired, tse, small_brain):
    angles = torch.full((5, 17), 1.5)
    with torch.no_grad():
        other = ImagingModel(tse, small_brain, accuracy=1e-2)({"flip_angles": angles})
    for one, two in zip(
        noisy_images(acquired, 2.0, count=3, seed=7),
        noisy_images(other, 2.0, count=3, seed=7),
        strict=True,
    ):
        torch.testing.assert_close(one - acquired.image, two - other.image, rtol=0, atol=1e-5)


def test_coils_have_noise_of_their_own(tse, small_brain, brain):
    """The image of four equal coils is twice that of one, with the noise of one."""
    with torch.no_grad():
        model = ImagingModel(tse, with_coils(small_brain, 4), accuracy=1e-2)
        acquired = model({})
    deviation = noise_deviation(acquired, brain, 50.0)
    images = torch.stack(noisy_images(acquired, deviation, count=50, seed=0))
    spread = images.abs().std(0)[brain]
    mean = float(acquired.image.abs()[brain].mean())
    assert mean / float(spread.square().mean().sqrt()) == pytest.approx(50.0, rel=0.05)

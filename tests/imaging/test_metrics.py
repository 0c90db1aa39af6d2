import math

import pytest
import torch

from pulseq_zero.imaging.metrics import nrmse, ssim


def image(phantom, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(64, 64, dtype=torch.complex64, generator=generator)


def test_nrmse_of_a_scaled_image_is_the_scale(small_brain):
    x = image(small_brain)
    assert nrmse(1.1 * x, x) == pytest.approx(0.1, rel=1e-5)
    assert nrmse(x * torch.exp(torch.tensor(0.1j)), x) == pytest.approx(
        2 * math.sin(0.05), rel=1e-4
    )
    assert nrmse(x, x) == 0.0


def test_ssim_is_one_for_equal_images_and_falls_with_noise(small_brain):
    x = torch.rand(64, 64)
    noise = torch.randn(64, 64)
    assert ssim(x, x) == pytest.approx(1.0)
    assert 1.0 > ssim(x + 0.05 * noise, x) > ssim(x + 0.2 * noise, x)

import math

import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.noise import noisy_acquisitions
from pulseq_zero.optimization.losses import (
    LossContext,
    contrast,
    error_and_power,
    image_and_sar,
    signal_to_noise,
)
from support.echoes import N, bar, echo_train


def image(phantom, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(64, 64, dtype=torch.complex64, generator=generator)


def test_contrast_without_a_bright_region_is_the_mean_of_the_dark_one(small_brain):
    start = torch.rand(32, 32) + 0.1j
    context = LossContext(small_brain, start, {})
    terms = contrast(context, bright=None, share=0.5)({}, start)
    csf = small_brain.mask("csf", (32, 32), 0.5)
    assert list(terms) == ["csf"]
    assert terms["csf"] == start.abs()[csf].mean()


def test_contrast_is_the_difference_of_region_means(small_brain):
    start = torch.ones(32, 32, dtype=torch.complex64)
    context = LossContext(small_brain, start, {})
    csf, brain = context.region("csf", 0.5), context.region("brain", 0.5)
    assert csf.sum() > 0
    terms = contrast(context, share=0.5)({}, start * torch.where(csf, 3.0, 1.0))
    assert float(terms["csf"]) == pytest.approx(3.0)
    expected = -(3.0 * (csf & brain).sum() + (brain & ~csf).sum()) / brain.sum()
    assert float(terms["brain"]) == pytest.approx(float(expected))


def test_image_and_sar_is_the_abstracts_loss(small_brain):
    start = image(small_brain)
    flips = torch.full((5, 17), math.pi, dtype=torch.float64)
    loss = image_and_sar(LossContext(small_brain, start, {"flip_angles": flips}), image_scale=2.0)
    at_start = loss({"flip_angles": flips}, start)
    assert float(at_start["image"]) == 0.0
    assert float(at_start["sar"]) == pytest.approx(180**2 / 1e4)
    # A global phase is no difference; twice the magnitude is
    assert float(loss({"flip_angles": flips}, 1j * start)["image"]) == pytest.approx(0, abs=1e-6)
    changed = loss({"flip_angles": flips / 2}, 2 * start)
    expected = 1e3 * 4 * start.abs().square().mean()
    assert float(changed["image"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(changed["sar"]) == pytest.approx(90**2 / 1e4)


def test_a_loss_without_its_parameter_says_so(small_brain):
    context = LossContext(small_brain, image(small_brain), {"TI": torch.tensor(1.0)})
    with pytest.raises(ConfigError, match="'flip_angles'"):
        image_and_sar(context)


def test_error_and_power_are_those_of_the_region_and_of_all_pulses(small_brain):
    start = image(small_brain)
    flips = torch.full((5, 17), math.pi, dtype=torch.float64)
    context = LossContext(small_brain, start, {"flip_angles": flips})
    loss = error_and_power(context, sar_weight=0.1)
    inside = context.region("brain")
    assert 0 < int(inside.sum()) < inside.numel()
    at_start = loss({"flip_angles": flips}, 1j * start)
    assert float(at_start["image"]) == pytest.approx(0, abs=1e-12)
    assert float(at_start["sar"]) == pytest.approx(0.1)
    # Elsewhere all is allowed
    changed = loss({"flip_angles": flips / 2}, torch.where(inside, 1.2 * start, 7 * start))
    assert float(changed["image"]) == pytest.approx(0.2**2, rel=1e-5)
    assert float(changed["sar"]) == pytest.approx(0.1 / 4)
    with pytest.raises(ConfigError, match="counts the parameter 'angles' as flip angles"):
        error_and_power(context, flip_angles="angles")


def test_the_signal_to_noise_ratio_is_that_of_noisy_images():
    deviation = 0.01
    phantom = bar()
    model = ImagingModel(echo_train, phantom, matrix=(N, 1), arguments={"echoes": 1})
    acquisition = model({})
    context = LossContext(phantom, acquisition.image, {})
    loss = signal_to_noise(context, "brain", deviation)
    inside = phantom.mask("brain", (N, 1))
    noisy = noisy_acquisitions(acquisition, deviation, count=2000, seed=1)
    images = torch.stack([each.image for each in noisy])
    spread = images.real.std(0).square().mean().sqrt()
    measured = acquisition.image.abs()[inside].mean() / spread
    assert float(-loss(acquisition)) == pytest.approx(float(measured), rel=0.03)
    # Twice as long for the same ratio is worth less by the root of two
    per_time = signal_to_noise(context, "brain", deviation, per_time=True)
    duration = echo_train(echoes=1).duration()[0]
    assert float(per_time(acquisition)) == pytest.approx(
        float(loss(acquisition)) / math.sqrt(duration), rel=1e-6
    )

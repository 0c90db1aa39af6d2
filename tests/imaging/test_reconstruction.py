import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pulseq_zero.errors import SimulationError
from pulseq_zero.imaging.reconstruction import adjoint, noise_gain, reconstruct, reconstruct_coils

FOV = (0.2, 0.3)


def grid(matrix: tuple[int, int]) -> torch.Tensor:
    kx = (torch.arange(matrix[0]).double() - matrix[0] // 2) / FOV[0]
    ky = (torch.arange(matrix[1]).double() - matrix[1] // 2) / FOV[1]
    return torch.cartesian_prod(kx, ky)


def pixels(matrix: tuple[int, int]) -> torch.Tensor:
    x = (torch.arange(matrix[0]).double() - matrix[0] // 2) * FOV[0] / matrix[0]
    y = (torch.arange(matrix[1]).double() - matrix[1] // 2) * FOV[1] / matrix[1]
    return torch.cartesian_prod(x, y)


def encode(image: torch.Tensor, kspace: torch.Tensor) -> torch.Tensor:
    """Encode slowly: the definition, written down. (coils, x, y) to (samples, coils)."""
    waves = torch.exp(2j * math.pi * (kspace @ pixels(image.shape[1:]).T))
    return waves @ image.flatten(1).T


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


@pytest.mark.parametrize("matrix", [(8, 8), (7, 10)])
def test_uniform_object_has_value_one(matrix):
    signal = encode(torch.ones(1, *matrix, dtype=torch.complex128), grid(matrix))
    image = reconstruct(signal, grid(matrix), matrix, FOV)
    torch.testing.assert_close(image, torch.ones_like(image))


def test_value_one_also_where_the_phantom_is_finer_than_the_image():
    fine, coarse = (24, 24), (8, 8)
    signal = encode(torch.ones(1, *fine, dtype=torch.complex128), grid(coarse))
    size = (FOV[0] / 24, FOV[1] / 24)
    image = reconstruct(signal, grid(coarse), coarse, FOV, voxel_size=size)
    torch.testing.assert_close(image, torch.ones_like(image))


def test_image_comes_back_from_a_full_grid():
    image = noise(1, 6, 9)
    back = reconstruct(encode(image, grid((6, 9))), grid((6, 9)), (6, 9), FOV)
    torch.testing.assert_close(back, image[0])


@settings(max_examples=20, deadline=None)
@given(
    matrix=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    coils=st.integers(1, 3),
    on_grid=st.booleans(),
)
def test_adjointness(matrix, coils, on_grid):
    generator = torch.Generator().manual_seed(sum(matrix))
    kspace = 60 * torch.randn(11, 3, dtype=torch.float64, generator=generator)
    if on_grid:
        kspace[:, 0] = (kspace[:, 0] * FOV[0]).round() / FOV[0]
        kspace[:, 1] = (kspace[:, 1] * FOV[1]).round() / FOV[1]
    image = noise(coils, *matrix)
    signal = torch.randn(11, coils, dtype=torch.complex128, generator=generator)
    left = (signal.conj() * encode(image, kspace[:, :2])).sum()
    right = (adjoint(signal, kspace, matrix, FOV).conj() * image).sum()
    torch.testing.assert_close(left, right)


def test_gradients_of_signal_and_trajectory():
    signal = noise(5, 1).requires_grad_()
    kspace = (20 * noise(5, 2).real).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, k: reconstruct(s, k, (3, 4), FOV).abs(), (signal, kspace)
    )


def test_gradient_of_the_fft_is_that_of_the_products():
    signal, kspace = noise(48, 2), grid((6, 8))
    by_fft = signal.clone().requires_grad_()
    by_products = signal.clone().requires_grad_()
    reconstruct(by_fft, kspace, (6, 8), FOV).abs().pow(3).sum().backward()
    reconstruct(by_products, kspace.clone().requires_grad_(), (6, 8), FOV).abs().pow(
        3
    ).sum().backward()
    torch.testing.assert_close(by_fft.grad, by_products.grad)


def test_coil_combination():
    image, coils = noise(1, 5, 5), noise(3, 5, 5)
    signal = encode(image * coils, grid((5, 5)))
    combined = reconstruct(signal, grid((5, 5)), (5, 5), FOV, sensitivities=coils)
    torch.testing.assert_close(combined, image[0])
    squares = reconstruct(signal, grid((5, 5)), (5, 5), FOV)
    torch.testing.assert_close(squares.real, (image * coils).abs().square().sum(0).sqrt())


def test_silent_samples_have_finite_gradients():
    signal = torch.zeros(4, 2, dtype=torch.complex64, requires_grad=True)
    reconstruct(signal, torch.zeros(4, 3), (2, 2), FOV).abs().sum().backward()
    assert bool(signal.grad.isfinite().all())


@pytest.mark.parametrize(
    ("signal", "kspace", "matrix"),
    [
        (torch.zeros(4, 1), torch.zeros(4, 3), (2, 2)),
        (torch.zeros(4, 1, dtype=torch.complex64), torch.zeros(3, 3), (2, 2)),
        (torch.zeros(0, 1, dtype=torch.complex64), torch.zeros(0, 3), (2, 2)),
        (torch.zeros(4, 1, dtype=torch.complex64), torch.zeros(4, 3), (0, 2)),
    ],
)
def test_misshapen_input_is_refused(signal, kspace, matrix):
    with pytest.raises(SimulationError):
        reconstruct(signal, kspace, matrix, FOV)


@pytest.mark.parametrize("size", [None, (0.004, 0.009)])
def test_noise_of_a_pixel_is_what_the_gain_says(size):
    """On a grid with averages, and off it: the same in all pixels, real and imaginary."""
    matrix, count = (8, 6), 4000
    spokes = torch.linspace(-0.5, 0.5, 9)[:, None] * torch.tensor([[8 / FOV[0], 6 / FOV[1]]])
    twice = torch.cat([grid(matrix), grid(matrix)[:7]])
    for kspace in (grid(matrix), twice, spokes * torch.tensor([1.0, -0.3])):
        # Many draws side by side, as coils
        drawn = noise(len(kspace), count) * math.sqrt(2)
        images = reconstruct_coils(drawn, kspace, matrix, FOV)
        if size is not None:
            images = images * (math.prod(size) * math.prod(matrix) / math.prod(FOV))
        gain = noise_gain(kspace, matrix, FOV, voxel_size=size)
        for part in (images.real, images.imag):
            assert float(part.std()) == pytest.approx(gain, rel=0.02)
            assert float(part.std(0).max()) < 1.1 * gain
            assert float(part.std(0).min()) > 0.9 * gain

"""Uniform objects have the value 1, however k-space is sampled; from the definition."""

import math

import numpy as np
import pytest
import torch
from scipy.special import j1

from pulseq_zero.imaging.density import sample_areas
from pulseq_zero.imaging.reconstruction import reconstruct
from pulseq_zero.imaging.trajectory import trajectory_of
from pulseq_zero.imaging.voronoi import voronoi_cells

N, FOV = 32, (0.2, 0.3)
FULL = np.arange(N) - N // 2


def lines(along, across) -> np.ndarray:
    """Return (samples, xy) in steps of 1 / field of view, line by line."""
    return np.stack([np.tile(along, len(across)), np.repeat(across, len(along))], 1).astype(float)


def ramps(count: int = 2 * N) -> np.ndarray:
    """Positions along a line that is sampled while its gradient rises, is on, and falls."""
    time = (np.arange(count) + 0.5) / count
    gradient = np.interp(np.linspace(0, 1, 10001), [0, 0.25, 0.75, 1], [0, 1, 1, 0])
    moment = np.cumsum(gradient) / gradient.sum()
    return N * (np.interp(time, np.linspace(0, 1, 10001), moment) - 0.5)


def spokes(count: int, along) -> np.ndarray:
    angle = np.pi * np.arange(count) / count
    return (np.stack([np.cos(angle), np.sin(angle)], 1)[:, None] * along[:, None]).reshape(-1, 2)


def spiral(turns: int, spacing: float, count: int) -> np.ndarray:
    turn = turns * np.sqrt(np.linspace(0, 1, count))
    return (
        spacing * turn[:, None] * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], 1)
    )


EPI = np.concatenate([lines(ramps()[:: 1 - 2 * (y % 2)] + 0.1 * (y % 2), [y]) for y in FULL])

# Each with the largest error of the mean inside: lines sample every frequency once, spokes and
# turns at Nyquist's spacing do not.
TRAJECTORIES = {
    "Cartesian": (lines(FULL, FULL), 0.002),
    "33 lines": (lines(FULL, np.arange(33) - 16), 0.002),
    "echo off centre": (lines(FULL - 1, FULL), 0.002),
    "partial Fourier": (lines(FULL, FULL[12:]), 0.01),
    "oversampled": (lines((np.arange(2 * N) - N) / 2, FULL), 0.002),
    "averages": (np.concatenate([lines(FULL, FULL)] * 3), 0.002),
    "some lines twice": (lines(FULL, [*FULL, *FULL[10:20]]), 0.002),
    "ramps": (lines(ramps(), FULL), 0.002),
    "EPI with ramps": (EPI, 0.003),
    "any order": (lines(FULL, FULL)[np.random.default_rng(0).permutation(N * N)], 0.002),
    "radial": (spokes(52, FULL), 0.02),
    "radial, between the centre": (spokes(52, FULL + 0.5), 0.02),
    "radial, oversampled": (spokes(52, (np.arange(2 * N) - N) / 2), 0.01),
    "few spokes": (spokes(13, FULL), 0.04),
    "spiral": (spiral(16, 1.0, 4000), 0.02),
    "spiral, oversampled": (spiral(32, 0.5, 8000), 0.01),
}


def kspace_of(steps: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(steps) / torch.tensor(FOV, dtype=torch.float64)


def signal_of_ellipse(steps: np.ndarray, radius: float) -> torch.Tensor:
    """Return the (samples, 1) transform of a disc of 1, radius in fields of view, in pixels."""
    argument = 2 * np.pi * radius * np.hypot(*steps.T)
    jinc = np.where(argument > 1e-9, 2 * j1(argument) / np.maximum(argument, 1e-9), 1.0)
    return torch.from_numpy(np.pi * radius**2 * N * N * jinc + 0j)[:, None]


@pytest.mark.parametrize("radius", [0.2, 0.35])
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_one_is_one(name, radius):
    steps, error = TRAJECTORIES[name]
    image = reconstruct(signal_of_ellipse(steps, radius), kspace_of(steps), (N, N), FOV)
    r = (np.arange(N) - N // 2) / N
    inside = np.hypot(r[:, None], r) < radius - 2 / N
    found = image.numpy()[inside]
    assert found.mean() == pytest.approx(1.0, abs=error + 0.004)
    # Gibbs' ringing, and what aliases
    assert np.abs(np.abs(found) - 1).max() < 0.22


def test_a_full_grid_has_equal_areas_to_the_last_digits():
    areas = sample_areas(kspace_of(lines(FULL, FULL)), FOV)
    torch.testing.assert_close(areas, torch.ones_like(areas), rtol=1e-12, atol=0)


def test_lines_left_out_make_their_neighbours_count_more():
    half = kspace_of(lines(FULL, FULL[::2]))
    torch.testing.assert_close(sample_areas(half, FOV), torch.full((N * N // 2,), 2.0).double())


def test_areas_of_a_disc_add_up_to_it():
    for steps in (spokes(52, FULL), spokes(13, FULL), spiral(16, 1.0, 4000)):
        areas = sample_areas(kspace_of(steps), FOV)
        assert float(areas.sum()) == pytest.approx(np.pi * (N / 2) ** 2, rel=0.03)


@pytest.mark.parametrize(
    "steps", [np.zeros((4, 2)), spokes(1, FULL[:3] + 0.5) @ [[0.6, 0.8], [0, 0]]]
)
def test_a_few_samples_share_what_a_line_fills(steps):
    areas = sample_areas(kspace_of(steps), FOV)
    assert float(areas.sum()) == pytest.approx(len(np.unique(steps, axis=0)))


def test_voronoi_cells_are_those_of_a_brute_force_search():
    random = np.random.default_rng(1)
    points = random.uniform(-1, 1, (60, 2))
    places = random.uniform(-1, 1, (400_000, 2))
    nearest = np.argmin([np.sum((places - point) ** 2, axis=1) for point in points], axis=0)
    expected = 4 * np.bincount(nearest, minlength=60) / len(places)
    found = voronoi_cells(torch.from_numpy(points))[0].numpy()
    inner = np.abs(points).max(1) < 0.5
    np.testing.assert_allclose(found[inner], expected[inner], rtol=0.1)


def test_cells_have_the_gradient_of_their_points():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 2, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(voronoi_cells, (points,))


def test_lines_have_the_gradient_of_their_samples():
    generator = torch.Generator().manual_seed(0)
    steps = torch.from_numpy(lines(FULL[::4], FULL[::8]))
    steps = steps + 0.02 * torch.randn(steps.shape, dtype=torch.float64, generator=generator)
    kspace = (steps / torch.tensor(FOV)).requires_grad_()
    assert trajectory_of(kspace, FOV).lines is not None
    assert torch.autograd.gradcheck(lambda k: sample_areas(k, FOV), (kspace,))


@pytest.mark.parametrize("change", ["scale", "shift"])
def test_an_image_of_spokes_has_the_gradient_of_its_trajectory(change):
    """Spokes become longer, or each is shifted along itself, as by a delay of its gradient."""
    along = np.arange(16) - 7.5
    steps = torch.from_numpy(spokes(26, along))
    shifts = torch.randn(26, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    directions = torch.from_numpy(spokes(26, np.ones(1)))[:, None]
    signal = signal_of_ellipse(steps.numpy(), 0.3)

    def energy(amount):
        if change == "scale":
            moved = steps * (1 + amount)
        else:
            moved = (steps.reshape(26, 16, 2) + amount * shifts * directions).reshape(-1, 2)
        image = reconstruct(signal, moved / torch.tensor(FOV), (16, 16), FOV)
        return image.abs().square().sum()

    amount = torch.tensor(0.03, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(amount), amount)
    with torch.no_grad():
        difference = (energy(amount + 1e-5) - energy(amount - 1e-5)) / 2e-5
    assert float(gradient) == pytest.approx(float(difference), rel=1e-3)


def test_weights_of_a_trajectory_that_stays_are_made_once():
    steps = spokes(52, FULL)
    first = sample_areas(kspace_of(steps), FOV)
    assert sample_areas(kspace_of(steps), FOV).data_ptr() == first.data_ptr()


@pytest.mark.parametrize(
    ("steps", "matrix"),
    [
        (lines(FULL, FULL), (32, 32)),
        (lines(FULL[:16] + 8, FULL), (16, 32)),
        # an echo off the centre by one sample, on either side
        (lines(FULL[8:24] - 1, FULL), (16, 32)),
        (lines(FULL[8:24] + 1, FULL), (16, 32)),
        (lines(FULL, FULL[8:24] - 1), (32, 16)),
        (lines(FULL + 0.5, FULL), (32, 32)),
        (lines(FULL, np.arange(33) - 16), (32, 33)),
        (lines(np.arange(17) - 8, np.arange(33) - 16), (17, 33)),
        (lines((np.arange(64) - 32) / 2, FULL), (32, 32)),
        # partial Fourier and asymmetric echoes: the whole of which a part is missing
        (lines(FULL, FULL[12:]), (32, 32)),
        (lines(FULL, FULL[4:]), (32, 32)),
        (lines(FULL, FULL[:21]), (32, 32)),
        (lines(FULL[6:], FULL), (32, 32)),
        # left-out lines, all or at the edges of k-space
        (lines(FULL, FULL[::2]), (32, 32)),
        (lines(FULL, [*FULL[:10:2], *FULL[10:22], *FULL[22::2]]), (32, 32)),
        # single lines and points
        (lines(FULL, [0]), (32, 1)),
        (lines(FULL, [5]), (32, 1)),
        (lines([0], FULL), (1, 32)),
        (np.zeros((3, 2)), (1, 1)),
        (lines(ramps(), FULL), (32, 32)),
        (EPI, (32, 32)),
        (spokes(52, FULL), (32, 32)),
        (spokes(52, FULL + 0.5), (32, 32)),
        (spokes(52, (np.arange(64) - 32) / 2), (32, 32)),
        (spiral(16, 1.0, 4000), (32, 32)),
    ],
)
def test_matrix(steps, matrix):
    assert trajectory_of(kspace_of(steps), FOV).matrix == matrix


@pytest.mark.parametrize("count", [32, 33])
def test_a_point_lies_in_its_pixel(count):
    steps = lines(np.arange(count) - count // 2, np.arange(count) - count // 2)
    kspace = kspace_of(steps)
    place = torch.tensor([5, -9]) / count
    signal = torch.exp(2j * math.pi * (torch.from_numpy(steps) @ place.double()))[:, None]
    matrix = trajectory_of(kspace, FOV).matrix
    assert matrix == (count, count)
    image = reconstruct(signal, kspace, matrix, FOV).abs()
    assert divmod(int(image.argmax()), count) == (count // 2 + 5, count // 2 - 9)
    assert float(image.max()) == pytest.approx(1.0, rel=1e-6)

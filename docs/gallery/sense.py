"""SENSE with eight coils: noise beside theory, and lines of k-space that are optimized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from shared import judged, save_example
from torch import Tensor

import pulseq_zero
from pulseq_zero.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    chart_row,
    image_row,
    panels,
    show_image,
    style,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.noise import noisy_acquisitions
from pulseq_zero.phantom.grid import voxel_centres

gre = load_function("sequences/gre.py:gre")

PIXELS, COILS, FOV = 32, 8, 0.224
ARGUMENTS = {"n_read": PIXELS, "n_phase": PIXELS, "fov": FOV, "n_dummy": 15, "flip_angle": 0.5}
LINES = 11  # for 32 pixels: an acceleration of 2.9
SNR = 50.0
"""Of the brain with all lines and all coils: mean magnitude over the deviation of a pixel."""


def sensitivities(matrix: int) -> Tensor:
    r"""Model eight coils around the head, each a pair of long wires with opposite currents.

    The field of a wire at :math:`z_0 = x_0 + i y_0` goes with :math:`1 / (z - z_0)` (Biot-Savart),
    where Bx - i By is its components.

    Parameters
    ----------
    matrix
        Voxels along x and y.

    Returns
    -------
    Tensor
        (coils, x, y) complex, with a root of the sum of squares of one in the middle.
    """
    centres = voxel_centres(matrix, FOV)
    place = torch.complex(*torch.meshgrid(centres, centres, indexing="ij"))
    angle = 2 * torch.pi / COILS * (torch.arange(COILS, dtype=torch.float64) + 0.5)
    width = 0.35 * torch.pi / COILS
    wires = [torch.polar(torch.tensor(0.15).double(), angle + side * width) for side in (1, -1)]
    first, second = (1 / (place - wire.view(-1, 1, 1)) for wire in wires)
    field = first - second
    middle = field[:, matrix // 2, matrix // 2].abs().square().sum().sqrt()
    return (field / middle).to(torch.complex64)


def head(matrix: int = 2 * PIXELS) -> pulseq_zero.Phantom:
    """Build the brain with eight coils, on a finer grid than that of the image."""
    phantom = pulseq_zero.build_phantom({"source": "icbm152", "matrix": matrix, "fov": FOV})
    coils = sensitivities(matrix)
    pools = {n: replace(p, coil_sensitivity=coils) for n, p in phantom.pools.items()}
    return replace(phantom, pools=pools)


class Sense:
    r"""Reconstruct as SENSE does: the image of least squares of all coils' samples.

    Along x, lines are complete and transformed by an FFT. In each column x, the samples of the
    coils c at ky are :math:`\sum_y e^{2 \pi i k_y y} C_c(x, y) I(x, y)` = E I with equal noise in
    each, and the image is :math:`(E^H E)^{-1} E^H s` (Pruessmann et al. 1999,
    doi:10.1002/(SICI)1522-2594(199911)42:5<952::AID-MRM16>3.0.CO;2-S), in the pixels of the head.

    Parameters
    ----------
    coils
        (coils, x, y) complex sensitivities in the pixels of the image.
    inside
        (x, y) bool: the pixels of the head; all others are zero.
    """

    def __init__(self, coils: Tensor, inside: Tensor) -> None:
        self.coils, self.inside = coils.to(torch.complex128), inside
        self._y = voxel_centres(PIXELS, FOV)

    def _encoding(self, acquisition: pulseq_zero.Acquisition) -> Tensor:
        """Return E, (x, coils x lines, y)."""
        ky = acquisition.kspace[::PIXELS, 1].double()
        waves = torch.polar(torch.ones(()).double(), 2 * torch.pi * ky[:, None] * self._y)
        encoding = self.coils.movedim(1, 0)[:, :, None, :] * waves[None, None]
        return encoding.flatten(1, 2) * self.inside[:, None, :]

    def _normal(self, encoding: Tensor) -> Tensor:
        """Return EᴴE, with ones for the pixels outside of the head: (x, y, y)."""
        return encoding.mH @ encoding + torch.diag_embed((~self.inside).to(encoding.dtype))

    def __call__(self, acquisition: pulseq_zero.Acquisition) -> Tensor:
        """Reconstruct the (x, y) image."""
        samples = acquisition.signal.reshape(-1, PIXELS, COILS).to(torch.complex128)
        # As the library's reconstruction has it: e^(-2πi kx x), pixel and sample n // 2 at zero
        columns = torch.fft.fftshift(
            torch.fft.fft(torch.fft.ifftshift(samples, dim=1), dim=1), dim=1
        )
        columns = columns.permute(1, 2, 0).flatten(1)[:, :, None] / PIXELS
        encoding = self._encoding(acquisition)
        image = torch.linalg.solve(self._normal(encoding), encoding.mH @ columns)
        return image[..., 0] * self.inside

    def deviation(self, acquisition: pulseq_zero.Acquisition) -> Tensor:
        """Return that of the real part of a pixel (x, y), for noise of 1 in the samples."""
        normal = self._normal(self._encoding(acquisition))
        variance = torch.linalg.inv(normal).diagonal(dim1=1, dim2=2).real
        return (variance / PIXELS).sqrt() * self.inside


def regular(lines: int) -> Tensor:
    """Return lines of equal distance, in steps of 1 / fov, in the middle of where all lines are."""
    return (torch.arange(lines, dtype=torch.float64) - (lines - 1) / 2) * PIXELS / lines - 0.5


def scattered(lines: int, seed: int = 1) -> Tensor:
    """Return lines at random places, one in each of as many equal parts of k-space."""
    random = torch.Generator().manual_seed(seed)
    moved = torch.rand(lines, generator=random, dtype=torch.float64) - 0.5
    return (regular(lines) + 0.95 * moved * PIXELS / lines).clamp(-16, 16)


class Error:
    """Squared relative error of the brain's image by SENSE: that without noise, and the noise.

    Parameters
    ----------
    sense
        The reconstruction.
    target
        (x, y) image of all lines.
    brain
        (x, y) bool: the pixels that count.
    noise
        Standard deviation of the real and of the imaginary part of a sample.
    """

    def __init__(self, sense: Sense, target: Tensor, brain: Tensor, noise: float) -> None:
        self._sense, self._brain, self._noise = sense, brain, noise
        self._target, self._power = target[brain], target[brain].abs().square().mean()

    def __call__(self, image: Tensor, acquisition: pulseq_zero.Acquisition) -> dict[str, Tensor]:
        """Return both."""
        wrong = (image[self._brain] - self._target).abs().square().mean()
        variance = 2 * (self._noise * self._sense.deviation(acquisition)[self._brain]).square()
        return {"image": wrong / self._power, "noise": variance.mean() / self._power}


def optimized(
    phantom: pulseq_zero.Phantom, sense: Sense, error: Error, start: Tensor, iterations: int
) -> pulseq_zero.OptimizationResult:
    """Optimize the places of the lines in k-space, from these (lines,)."""
    return pulseq_zero.optimize(
        gre,
        error,
        {"lines": pulseq_zero.Parameter(start, lower=-16.0, upper=16.0, learning_rate=0.1)},
        phantom,
        arguments=ARGUMENTS,
        reconstruction=sense,
        matrix=(PIXELS, PIXELS),
        iterations=iterations,
        verify_every=20,
        progress=False,
    )


def make(iterations: int = 40) -> tuple[Figure, dict[str, Any]]:
    """Optimize, compare with theory, and draw."""
    phantom = head()
    has_tissue = (phantom.maps()["PD"] > 0).float()
    inside = torch.nn.functional.max_pool2d(has_tissue[None, None], 2)[0, 0] > 0
    brain = phantom.mask("brain", (PIXELS, PIXELS), 0.5)
    sense = Sense(sensitivities(PIXELS), inside)
    model = pulseq_zero.ImagingModel(
        gre, phantom, arguments=ARGUMENTS, reconstruction=sense, matrix=(PIXELS, PIXELS)
    )
    with torch.no_grad():
        full = model({"lines": regular(PIXELS)})
    of_full = sense.deviation(full)
    noise = float(full.image.abs()[brain].mean() / SNR / of_full[brain].mean())
    error = Error(sense, full.image, brain, noise)
    result = optimized(phantom, sense, error, scattered(LINES), iterations)
    patterns = {
        "random": scattered(LINES),
        "regular": regular(LINES),
        "optimized": result.best["lines"],
    }
    numbers: dict[str, Any] = {"noise": noise, "history": result.history["loss"].to_list()}
    shown = {}
    model.use_accuracy(1e-4)
    for name, lines in {**patterns, "regular, 16 lines": regular(16)}.items():
        with torch.no_grad():
            acquisition = model({"lines": lines})
            terms = error(acquisition.image, acquisition)
            drawn = noisy_acquisitions(acquisition, noise, count=100, seed=0)
            noisy = torch.stack([each.image for each in drawn])
            factor = (PIXELS / len(lines)) ** 0.5
            theory = sense.deviation(acquisition) / of_full / factor
            measured = noisy.real.std(0) / (noise * of_full) / factor
            sequence = gre(lines=lines.numpy(), **ARGUMENTS)
            by_judge = sense(acquisition.with_signal(judged(sequence, phantom)))
        numbers[name] = {
            "lines": lines,
            "error": {term: float(value) ** 0.5 for term, value in terms.items()},
            "g": {"mean": float(theory[brain].mean()), "largest": float(theory[brain].max())},
            "g of noisy images": float(measured[brain].mean()),
            "judged error": float(error(by_judge, acquisition)["image"]) ** 0.5,
        }
        shown[name] = (noisy[0].abs(), torch.where(inside, theory, 0.0))
    return draw(patterns, shown), numbers


def draw(patterns: Mapping[str, Tensor], shown: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw lines, noisy images and g-factors."""
    colours = dict(zip(patterns, (GREY, ORANGE, BLUE), strict=True))
    with style():
        figure, ((places,), images, factors) = panels(
            chart_row(1.0, height=3.6), image_row(3), image_row(3)
        )
        for row, (name, lines) in enumerate(patterns.items()):
            places.plot(lines, np.full(len(lines), row), "|", ms=12, mew=2, color=colours[name])
        places.set(
            title="Lines of k-space", xlabel="ky [1 / field of view]", xlim=(-16.5, 16.5),
            ylim=(2.6, -0.6),
        )  # fmt: skip
        places.set_yticks(range(len(patterns)), list(patterns))
        brightest = max(float(shown[name][0].max()) for name in patterns)
        for image, factor, name in zip(images, factors, patterns, strict=True):
            show_image(image, shown[name][0], f"{name}, with noise", vmin=0, vmax=brightest)
            show_image(factor, shown[name][1], "g-factor", vmin=0.9, vmax=2.2, cmap="viridis")
    return figure


if __name__ == "__main__":
    save_example("sense", make)

"""A single-shot spiral, bent until the brain's image errs least, within what gradients can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
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
from pulseq_zero.optimization.penalties import excess
from pulseq_zero.phantom.grid import voxel_centres

spiral = load_function("sequences/spiral.py:spiral")
bending = load_function("sequences/spiral.py:bending")
variable_density_spiral = load_function("sequences/spiral.py:variable_density_spiral")

PIXELS, FOV, DURATION = 32, 0.224, 3.84e-3
RASTER, GAMMA = 10e-6, 42.576e6
"""Of gradients and samples [s], and of protons [Hz/T]."""
MAX_GRAD, MAX_SLEW = 20e-3, 49.0
"""Limits of the gradient vector [T/m], and of its slew rate [T/m/s], 98 % of the script's."""
SPLINES = 40
ROUGHNESS = 0.01
"""What the penalty of the reconstruction weighs, relative to the number of samples."""
SNR = 30.0
"""Of the brain with all of k-space: mean magnitude over the deviation of a pixel's real part."""
SPIRALS = [(edge, density) for edge in (32, 28, 24, 20) for density in (1.0, 1.5, 2.0)]
"""Those to choose the best from: pixels that they resolve, and their density."""
# The trace lets the optimizer step over the limits for a while, the exported script does not
FREE = {"max_grad": 80.0, "max_slew": 400.0}


def head(position: float = 0.0) -> pulseq_zero.Phantom:
    """Build a slice of the brain [m from the middle one], on a finer grid than the image's."""
    return pulseq_zero.build_phantom(
        {"source": "icbm152", "matrix": 2 * PIXELS, "fov": FOV, "slice_position": position}
    )


@cache
def course(edge: int = PIXELS, density: float = 1.0) -> np.ndarray:
    """Return the spiral that resolves so many pixels: (samples + 1, 2) [1/m]."""
    return variable_density_spiral(FOV, edge, DURATION, density, MAX_GRAD, MAX_SLEW)


def duration_by_closed_form(along: np.ndarray) -> float:
    """Return how long an even spiral takes whose slew rate is at its limit throughout [s].

    It is the solution of Kim et al. for a density of 1, for as many turns; it starts with any
    gradient, and not from rest.

    Parameters
    ----------
    along
        (samples + 1, 2) the spiral [1/m].
    """
    angle = np.unwrap(np.arctan2(along[1:, 1], along[1:, 0]))
    edge = float(np.hypot(*along[-1]))
    return 2 / 3 * float(angle[-1] - angle[0]) * math.sqrt(edge / (GAMMA * MAX_SLEW))


class LeastSquares:
    r"""Reconstruct by least squares with a penalty of roughness, in the pixels of the head.

    With the encoding :math:`E_{sp} = e^{2 \pi i k_s r_p}`, the image is
    :math:`(E^H E + \lambda N R)^{-1} E^H s` of N samples, with R the sum of squared differences of
    neighbours.
    It knows nothing of the field: what is off resonance is blurred.

    Parameters
    ----------
    inside
        (x, y) bool: the pixels of the head; all others are zero.
    """

    def __init__(self, inside: Tensor) -> None:
        self.inside = inside
        x, y = torch.meshgrid(*[voxel_centres(PIXELS, FOV)] * 2, indexing="ij")
        self._place = torch.stack([x[inside], y[inside]]).double()
        one = torch.eye(PIXELS**2, dtype=torch.float64).view(PIXELS, PIXELS, -1)
        steps = [torch.diff(one, dim=axis).flatten(0, 1)[:, inside.flatten()] for axis in (0, 1)]
        self._known: tuple[Any, Any] = (None, None)
        self._penalty = sum(each.T @ each for each in steps)

    def matrices(self, kspace: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return E (samples, pixels), EᴴE, and the inverse of the latter with the penalty."""
        # Image and noise of an acquisition are asked for one after the other
        if self._known[0] is not kspace:
            self._known = kspace, self._matrices(kspace)
        return self._known[1]

    def _matrices(self, kspace: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turns = kspace[:, :2].double() @ self._place
        encoding = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
        normal = encoding.mH @ encoding
        return encoding, normal, torch.linalg.inv(normal + ROUGHNESS * len(kspace) * self._penalty)

    def image_of(self, signal: Tensor, kspace: Tensor) -> Tensor:
        """Reconstruct (x, y) of a (samples, 1) signal at places (samples, 4) in k-space."""
        encoding, _, inverse = self.matrices(kspace)
        return self._spread(inverse @ (encoding.mH @ signal[:, 0].to(encoding.dtype)))

    def __call__(self, acquisition: pulseq_zero.Acquisition) -> Tensor:
        """Reconstruct the (x, y) image."""
        return self.image_of(acquisition.signal, acquisition.kspace)

    def deviation(self, acquisition: pulseq_zero.Acquisition) -> Tensor:
        """Return that of the real part of a pixel (x, y), for noise of 1 in the samples."""
        _, normal, inverse = self.matrices(acquisition.kspace)
        # The diagonal of inverse · normal · inverse
        variance = ((inverse @ normal) * inverse.mT).sum(1).real
        return self._spread(variance.sqrt())

    def _spread(self, values: Tensor) -> Tensor:
        """Put (pixels,) values of the head into an image (x, y)."""
        image = torch.zeros(self.inside.shape, dtype=values.dtype)
        return image.masked_scatter(self.inside, values)


def slew_and_gradient(acquisition: pulseq_zero.Acquisition) -> tuple[Tensor, Tensor]:
    """Return slew rate [T/m/s] and gradient [T/m] of the vector at the corners in the plane."""
    x, y = (acquisition.sequence.gradients[axis] for axis in "xy")
    amplitude = torch.stack([x[:, 1], y[:, 1]]) / GAMMA
    slew = amplitude.diff(dim=1) / x[:, 0].diff().clamp_min(1e-9)
    return torch.linalg.vector_norm(slew, dim=0), torch.linalg.vector_norm(amplitude, dim=0)


@dataclass(frozen=True)
class Scene:
    """A slice, what its image ought to be, and how strong the noise is.

    Attributes
    ----------
    phantom
        The slice.
    inside, brain
        (x, y) bool: the pixels of the head, and of those the ones that count.
    target
        (x, y) magnitude of all of k-space.
    noise
        Standard deviation of the real and of the imaginary part of a sample.
    """

    phantom: pulseq_zero.Phantom
    inside: Tensor
    brain: Tensor
    target: Tensor
    noise: float

    @classmethod
    def of(cls, phantom: pulseq_zero.Phantom, interleaves: int = 10) -> Scene:
        """Read all of k-space by so many short spirals, each after an excitation of its own."""
        has_tissue = (phantom.maps()["PD"] > 0).float()
        inside = torch.nn.functional.max_pool2d(has_tissue[None, None], 2)[0, 0] > 0
        brain = phantom.mask("brain", (PIXELS, PIXELS), 0.5)
        short = variable_density_spiral(FOV, PIXELS, 1.6e-3, 1.0, MAX_GRAD, MAX_SLEW)
        model = model_of(phantom)
        turned = [2 * math.pi * number / interleaves for number in range(interleaves)]
        with torch.no_grad():
            parts = [model({"course": short, "angle": angle}) for angle in turned]
        signal, kspace = (
            torch.cat([getattr(part, what) for part in parts]) for what in ("signal", "kspace")
        )
        target = LeastSquares(inside).image_of(signal, kspace).abs()
        noise = float(target[brain].mean()) / SNR * math.sqrt(DURATION / RASTER)
        return cls(phantom, inside, brain, target, noise)


def model_of(
    phantom: pulseq_zero.Phantom, reconstruction: LeastSquares | None = None
) -> pulseq_zero.ImagingModel:
    """Return the model of any course, which is traced once."""
    return pulseq_zero.ImagingModel(
        spiral,
        phantom,
        arguments=FREE,
        reconstruction=reconstruction,
        matrix=(PIXELS, PIXELS),
    )


class Loss:
    """Squared relative error of the brain's image, its noise, and what exceeds the limits.

    Parameters
    ----------
    scene
        What is imaged.
    reconstruct
        Makes the image.
    """

    def __init__(self, scene: Scene, reconstruct: LeastSquares) -> None:
        self._scene, self._reconstruct = scene, reconstruct
        self._power = scene.target[scene.brain].square().mean()

    def __call__(self, image: Tensor, acquisition: pulseq_zero.Acquisition) -> dict[str, Tensor]:
        """Return all of them."""
        brain, target = self._scene.brain, self._scene.target
        wrong = (image.abs() - target)[brain].square().mean()
        deviation = self._scene.noise * self._reconstruct.deviation(acquisition)[brain]
        slew, gradient = slew_and_gradient(acquisition)
        return {
            "image": wrong / self._power,
            # Of a magnitude, the noise along it counts
            "noise": deviation.square().mean() / self._power,
            "limits": 30.0 * (excess(slew, MAX_SLEW) + excess(gradient, MAX_GRAD)),
        }


def optimized(
    scene: Scene, reconstruct: LeastSquares, along: np.ndarray, iterations: int
) -> pulseq_zero.OptimizationResult:
    """Bend a course (samples + 1, 2)."""
    return pulseq_zero.optimize(
        spiral,
        Loss(scene, reconstruct),
        {"bends": pulseq_zero.Parameter(torch.zeros(2, SPLINES), learning_rate=0.2)},
        scene.phantom,
        arguments={"course": along, **FREE},
        reconstruction=reconstruct,
        matrix=(PIXELS, PIXELS),
        iterations=iterations,
        verify_every=20,
        progress=False,
    )


def error_of(scene: Scene, reconstruct: LeastSquares, acquisition: Any) -> dict[str, float]:
    """Return the error of the brain's image without noise, that of the noise, and both."""
    with torch.no_grad():
        terms = Loss(scene, reconstruct)(acquisition.image, acquisition)
    image, noise = float(terms["image"]), float(terms["noise"])
    return {"image": image**0.5, "noise": noise**0.5, "both": (image + noise) ** 0.5}


Spiral = tuple[int, float]


def best_spiral(scene: Scene, reconstruct: LeastSquares) -> tuple[dict[Spiral, float], Spiral]:
    """Find the best spiral by brute force: the error of each, and the best one."""
    errors, model = {}, model_of(scene.phantom, reconstruct)
    for each in SPIRALS:
        with torch.no_grad():
            acquisition = model({"course": course(*each)})
        errors[each] = error_of(scene, reconstruct, acquisition)["both"]
    return errors, min(errors, key=lambda each: errors[each])


def make(iterations: int = 40) -> tuple[Figure, dict[str, Any]]:
    """Bend the best spiral, compare in and out of sample, and draw."""
    scene, other = Scene.of(head()), Scene.of(head(0.02))
    reconstruct, elsewhere = (LeastSquares(each.inside) for each in (scene, other))
    errors, best = best_spiral(scene, reconstruct)
    result = optimized(scene, reconstruct, course(*best), iterations)
    bends = result.best["bends"].numpy()
    splines = bending(len(course()) - 1, SPLINES)
    ways = {
        "even spiral": course(),
        "best spiral": course(*best),
        "optimized": course(*best) + splines @ bends.T,
    }
    models = [model_of(scene.phantom, reconstruct), model_of(other.phantom, elsewhere)]
    numbers: dict[str, Any] = {
        "best": {"pixels": best[0], "density": best[1]},
        "errors of spirals": {
            f"{edge} pixels, {density}": e for (edge, density), e in errors.items()
        },
        "duration": DURATION,
        "duration by the closed form": duration_by_closed_form(course()),
        "history": result.history["loss"].to_list(),
    }
    shown = {}
    for name, along in ways.items():
        of_it: dict[str, Any] = {}
        for place, at, model in zip(("", " of another slice"), (scene, other), models, strict=True):
            by = reconstruct if at is scene else elsewhere
            with torch.no_grad():
                acquisition = model({"course": along})
                # First, as its matrices are those of the noisy ones
                of_it[f"error{place}"] = error_of(at, by, acquisition)
                drawn = noisy_acquisitions(acquisition, at.noise, count=50, seed=0)
                noisy = [(each.image.abs() - at.target)[at.brain] for each in drawn]
            size = at.target[at.brain].square().mean()
            of_it[f"noisy images{place}"] = float(
                (torch.stack(noisy).square().mean() / size).sqrt()
            )
            if at is scene:
                slew, gradient = slew_and_gradient(acquisition)
                of_it["slew"], of_it["gradient"] = float(slew.max()), float(gradient.max())
                shown[name] = (acquisition.kspace, acquisition.image.abs())
                # By the limits of the system, which the script holds now
                signal = judged(spiral(course=along), at.phantom)
                by_judge = acquisition.with_signal(signal)
                of_it["error by isochromats"] = error_of(at, by, by_judge)["image"]
        numbers[name] = of_it
    return draw(shown, scene), numbers


def draw(shown: Mapping[str, tuple[Tensor, Tensor]], scene: Scene) -> Figure:
    """Draw courses, images and their errors."""
    colours = dict(zip(shown, (GREY, ORANGE, BLUE), strict=True))
    brightest = float(scene.target.max())
    with style():
        figure, (courses, images, errors) = panels(
            chart_row(1.0, 1.0, 1.0, height=5.6), image_row(3), image_row(3)
        )
        for axes, image, error, name in zip(courses, images, errors, shown, strict=True):
            kspace, found = shown[name]
            axes.plot(kspace[:, 0], kspace[:, 1], ".-", ms=1.5, lw=0.5, color=colours[name])
            axes.set_aspect("equal")
            axes.set(title=name, xlabel="kx [1/m]", ylabel="ky [1/m]", xlim=(-80, 80))
            axes.set_ylim(-80, 80)
            show_image(image, found, name, vmin=0, vmax=brightest)
            wrong = torch.where(scene.inside, found - scene.target, 0.0)
            show_image(
                error, wrong, "error", vmin=-0.2 * brightest, vmax=0.2 * brightest, cmap="RdBu"
            )
    return figure


if __name__ == "__main__":
    save_example("trajectory", make)

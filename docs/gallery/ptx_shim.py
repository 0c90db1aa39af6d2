"""Weights of eight transmit channels at 7 T, for an even image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.special import hankel2
from shared import save_example
from torch import Tensor

import pulseq_zero
from pulseq_zero.experiments.validation import judged_phantom
from pulseq_zero.figures.style import (
    BLUE,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_image,
    style,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.acquisition import Acquisition, acquire
from pulseq_zero.judge.course import course_of
from pulseq_zero.judge.isochromats import converged_isochromats
from pulseq_zero.phantom.grid import voxel_centres

gre = load_function("sequences/gre.py:gre")

PIXELS, CHANNELS, FOV = 32, 8, 0.224
ARGUMENTS = {
    "n_read": PIXELS, "n_phase": PIXELS, "n_dummy": 10, "flip_angle": math.radians(6),
}  # fmt: skip


def transmit_fields() -> Tensor:
    r"""Model eight transmit channels, each a line current in a homogeneous medium.

    The vector potential of a current along z at a distance r is :math:`H_0^{(2)}(k r)`, with
    :math:`k^2 = \omega \mu_0 (\omega \epsilon - i \sigma)`, and B1 what of its curl turns with the
    spins: :math:`(\partial_x - i \partial_y)`, up to a factor. At 297 MHz, :math:`\epsilon = 52
    \epsilon_0` and :math:`\sigma = 0.55` S/m, the mean of grey and white matter of Gabriel et al.
    1996 (doi:10.1088/0031-9155/41/11/003).

    Returns
    -------
    Tensor
        (channels, x, y) complex.
    """
    frequency, vacuum = 2 * math.pi * 297e6, 4e-7 * math.pi
    number = (frequency * vacuum * (frequency * 52 * 8.854e-12 - 0.55j)) ** 0.5
    centres = voxel_centres(PIXELS, FOV)
    x, y = torch.meshgrid(centres, centres, indexing="ij")
    fields = []
    for channel in range(CHANNELS):
        angle = 2 * math.pi * (channel + 0.5) / CHANNELS
        to_x, to_y = x - 0.14 * math.cos(angle), y - 0.14 * math.sin(angle)
        distance = torch.hypot(to_x, to_y)
        slope = torch.from_numpy(-number * hankel2(1, number * distance.numpy()))
        fields.append(slope * torch.complex(to_x, -to_y) / distance)
    return torch.stack(fields)


def circular(fields: Tensor, brain: Tensor) -> Tensor:
    """Return weights (channels,) whose fields add up in the middle: the mean in the brain is 1."""
    middle = fields[:, PIXELS // 2, PIXELS // 2]
    weights = middle.conj() / middle.abs()
    return weights / total(weights, fields)[brain].abs().mean()


def total(weights: Tensor, fields: Tensor) -> Tensor:
    """Return the (x, y) complex field of all channels."""
    return torch.einsum("c,cxy->xy", weights, fields)


def least_squares(fields: Tensor, brain: Tensor, start: Tensor, steps: int = 500) -> Tensor:
    """Fit the magnitude of the field to 1 in the brain, without any simulation.

    By turns the phase is that of the field, and the weights are those of least squares (Setsompop
    et al. 2008, doi:10.1002/mrm.21513).
    """
    matrix, weights = fields[:, brain].T, start
    for _ in range(steps):
        felt = matrix @ weights
        weights = torch.linalg.lstsq(matrix, (felt / felt.abs())[:, None]).solution[:, 0]
    return weights


def unevenness(weights: Tensor, fields: Tensor, brain: Tensor) -> float:
    """Return the standard deviation of |B1| in the brain, relative to its mean."""
    felt = total(weights, fields)[brain].abs()
    return float(felt.std() / felt.mean())


def head(fields: Tensor) -> pulseq_zero.Phantom:
    """Build the brain with these transmit channels."""
    phantom = pulseq_zero.build_phantom({"source": "icbm152", "matrix": PIXELS, "fov": FOV})
    B1 = fields.to(torch.complex64)
    return replace(phantom, pools={n: replace(p, B1=B1) for n, p in phantom.pools.items()})


class Imaging:
    """From weights of the channels to an image; scripts of PyPulseq cannot carry weights.

    Parameters
    ----------
    phantom
        With a transmit channel for each weight.
    pulses
        As for `pulseq_zero.ImagingModel`.
    """

    def __init__(self, phantom: pulseq_zero.Phantom, pulses: str = "played") -> None:
        # Pulses reach beyond the slice
        thick = phantom.thickened(2 * phantom.slice_thickness) if pulses == "played" else phantom
        self._simulator = pulseq_zero.Simulator(thick.simulation_data())
        model = pulseq_zero.SequenceModel(gre, arguments=ARGUMENTS, pulses=pulses)
        with torch.no_grad():
            self.repetitions = model({"TE": 5e-3})

    def with_weights(self, weights: Tensor) -> pulseq_zero.Repetitions:
        """Return the sequence with these (channels,) weights in each pulse."""
        pulses = len(self.repetitions.pulse_use)
        return replace(self.repetitions, shim=weights.expand(pulses, -1))

    def __call__(self, weights: Tensor) -> Acquisition:
        """Acquire the image."""
        return acquire(
            self.with_weights(weights), self._simulator, matrix=(PIXELS, PIXELS), fov=(FOV, FOV)
        )


def optimized(
    imaging: Imaging, start: Tensor, target: Tensor, brain: Tensor, iterations: int
) -> tuple[Tensor, list[float]]:
    """Make the magnitude of the image that of a target in the brain, by the weights."""
    leaf = torch.view_as_real(start.clone()).requires_grad_()
    optimizer = torch.optim.LBFGS([leaf], max_iter=iterations, line_search_fn="strong_wolfe")
    course: list[float] = []

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        image = imaging(torch.view_as_complex(leaf)).image.abs()[brain]
        loss = ((image - target[brain]) / target[brain].mean()).square().mean()
        loss.backward()
        course.append(float(loss.detach()))
        return loss

    optimizer.step(evaluate)
    return torch.view_as_complex(leaf.detach()), course


def judged_image(imaging: Imaging, phantom: pulseq_zero.Phantom, weights: Tensor) -> Tensor:
    """Return the (x, y) image of Bloch isochromats, whose pulses are rotations."""
    repetitions = imaging.with_weights(weights)
    course = course_of(repetitions)
    signal = converged_isochromats(course, judged_phantom(phantom), tolerance=1e-2).signal
    return imaging(weights).with_signal(signal).image


def make(iterations: int = 60) -> tuple[Figure, dict[str, Any]]:
    """Optimize, compare with magnitude least squares, and draw."""
    fields = transmit_fields()
    plain = pulseq_zero.build_phantom({"source": "icbm152", "matrix": PIXELS, "fov": FOV})
    brain = plain.mask("brain", (PIXELS, PIXELS), 0.5)
    # So that the weights of the circular mode are of the magnitude one
    fields = fields * float(circular(fields, brain).abs().mean())
    start = circular(fields, brain)
    phantom, even = head(fields), torch.ones(1, dtype=torch.complex128)
    imaging, uniform = Imaging(phantom), head(torch.ones(1, PIXELS, PIXELS) + 0j)
    with torch.no_grad():
        target = Imaging(uniform)(even).image.abs()
    found, course = optimized(imaging, start, target, brain, iterations)
    modes = {
        "circular": start,
        "least squares": least_squares(fields, brain, start),
        "optimized": found,
    }
    at_once = Imaging(phantom, "instantaneous")
    judged_target = judged_image(Imaging(uniform, "instantaneous"), uniform, even).abs()
    numbers: dict[str, Any] = {"course": course}
    with torch.no_grad():
        for name, weights in modes.items():
            numbers[name] = {
                "unevenness": unevenness(weights, fields, brain),
                "power": float(weights.abs().square().sum() / start.abs().square().sum()),
                "error": error(imaging(weights).image.abs(), target, brain),
                "judged": error(
                    judged_image(at_once, phantom, weights).abs(), judged_target, brain
                ),
            }
    shown = {name: total(weights, fields).abs() * brain for name, weights in modes.items()}
    return draw(shown, course, numbers["least squares"]["error"]), numbers


def error(image: Tensor, target: Tensor, brain: Tensor) -> float:
    """Root mean square of the difference in the brain, relative to the target's mean."""
    difference = (image - target)[brain]
    return float(difference.square().mean().sqrt() / target[brain].mean())


def draw(shown: Mapping[str, Tensor], course: list[float], of_least_squares: float) -> Figure:
    """Draw the fields in the brain and the course of the error."""
    with style():
        figure, (pictures, (errors,)) = panels(image_row(3), chart_row(1.0, height=5.0))
        for axes, (name, field) in zip(pictures, shown.items(), strict=True):
            show_image(axes, field, f"|B1|, {name}", vmin=0.4, vmax=1.8, cmap="viridis")
        errors.plot([value**0.5 for value in course], color=BLUE, label="optimized")
        errors.axhline(of_least_squares, color="black", ls=":", label="magnitude least squares")
        errors.set(title="Error of the image", xlabel="Evaluation of the loss", ylim=(0, 0.3))
        errors.grid(True)
        legend_below(errors)
    return figure


if __name__ == "__main__":
    save_example("ptx_shim", make)

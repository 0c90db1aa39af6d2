"""MPRAGE of a volume: white against grey matter, per square root of the scan time."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    legend_below,
    panels,
    show_image,
    style,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

mprage = load_function("sequences/mprage.py:mprage")

MATRIX = (32, 32, 16)
COARSE = (32, 16, 16)
"""Half of the lines, for the optimization: the trains are the same."""
TR, PARTITIONS = 7e-3, 16
# White and grey matter of phantoms/brain_3T.yaml: PD, T1, T2, T2' [s]
TISSUES = {"wm": (0.7, 0.83, 0.075, 0.18), "gm": (0.8, 1.56, 0.083, 0.32)}

ACCURACY = 1e-2

PROTOCOLS = {
    # Jack et al. 2008, doi:10.1002/jmri.21049; the recovery is that of its TR of 2.3 s
    "ADNI": {"TI": 0.9, "flip_angle": math.radians(9), "recovery": 0.6},
    # Wang et al. 2014, doi:10.1371/journal.pone.0096899
    "Wang 2014": {"TI": 1.0, "flip_angle": math.radians(12), "recovery": 0.0},
}


def head() -> pulseq_zero.Phantom:
    """Build the brain as a volume: without CSF, of which the loss sees nothing."""
    return pulseq_zero.build_phantom(
        {
            "source": "icbm152",
            "matrix": MATRIX[0],
            "slices": MATRIX[2],
            "slice_thickness": 8e-3,
            "tissues": {"csf": {"PD": 0.0}},
        }
    )


def period(TI: float | Tensor, recovery: float | Tensor, pulses: int = PARTITIONS) -> Any:
    """Time from inversion to inversion [s]."""
    return TI + (pulses - pulses // 2) * TR + recovery


def cycle_signal(
    T1: float, TI: Any, flip_angle: Any, recovery: Any, pulses: int = PARTITIONS
) -> Any:
    r"""Signal of the pulse in the middle of a train, in the steady state of the cycles.

    Inversion and spoiling are perfect: M is -M after the inversion, M cos α after a pulse, and
    relaxes as :math:`1 - (1 - M) e^{-t / T_1}` (Mugler and Brookeman 1990). A cycle maps M to
    a M + b, and the steady state is b / (1 - a).

    Parameters
    ----------
    T1, TI, recovery
        [s].
    flip_angle
        [rad].
    pulses
        Of a train.

    Returns
    -------
    float or array
        Relative to the equilibrium magnetisation.
    """
    slope, offset = -1.0, 0.0

    def relaxed(slope, offset, time):
        decay = np.exp(-time / T1)
        return slope * decay, offset * decay + 1 - decay

    slope, offset = relaxed(slope, offset, TI - pulses // 2 * TR)
    for pulse in range(pulses):
        if pulse == pulses // 2:
            middle = slope, offset
        slope, offset = relaxed(slope * np.cos(flip_angle), offset * np.cos(flip_angle), TR)
    slope, offset = relaxed(slope, offset, recovery)
    return (middle[0] * offset / (1 - slope) + middle[1]) * np.sin(flip_angle)


def closed_form(TI: Any, flip_angle: Any, recovery: Any, pulses: int = PARTITIONS) -> Any:
    """Contrast of the two tissues per square root of the period [1/√s]; as `cycle_signal`."""
    white, grey = (
        PD * cycle_signal(T1, TI, flip_angle, recovery, pulses) for PD, T1, *_ in TISSUES.values()
    )
    return (white - grey) / np.sqrt(period(TI, recovery, pulses))


def best_by_formula(recovery: float = 0.0, pulses: int = PARTITIONS) -> dict[str, float]:
    """Find the protocol with this recovery [s] that is best by `closed_form`, by brute force."""
    times = pulses // 2 * TR + 0.02 + np.arange(0, 1.5, 0.01)
    angles = np.radians(np.arange(4, 40, 0.25))
    values = closed_form(times[:, None], angles, recovery, pulses)
    time, angle = np.unravel_index(values.argmax(), values.shape)
    return {"TI": float(times[time]), "flip_angle": float(angles[angle]), "recovery": recovery}


class Contrast:
    """Contrast of a volume per square root of the period [1/√s].

    Parameters
    ----------
    phantom
        With the regions wm and gm.
    matrix
        Pixels in x, y and z.
    """

    def __init__(self, phantom: pulseq_zero.Phantom, matrix: tuple[int, ...] = MATRIX) -> None:
        self.wm, self.gm = (phantom.mask(name, matrix=matrix) for name in TISSUES)

    def __call__(self, parameters: Mapping[str, Tensor], image: Tensor) -> Tensor:
        """Return that of an image (x, y, z)."""
        magnitude = image.abs()
        contrast = magnitude[self.wm].mean() - magnitude[self.gm].mean()
        return contrast / period(parameters["TI"], parameters["recovery"]) ** 0.5


def optimized(
    phantom: pulseq_zero.Phantom, start: Mapping[str, float], iterations: int, **settings: Any
) -> pulseq_zero.OptimizationResult:
    """Optimize inversion time, flip angle and recovery for the contrast."""
    contrast = Contrast(phantom, COARSE)
    bounds = {
        "TI": {"lower": 0.1, "upper": 3.0, "learning_rate": 0.04},
        "flip_angle": {"lower": 0.02, "upper": 1.0, "learning_rate": 0.03},
        "recovery": {"lower": 0.0, "upper": 3.0, "learning_rate": 0.1},
    }
    return pulseq_zero.optimize(
        mprage,
        lambda parameters, image: -contrast(parameters, image),
        {name: pulseq_zero.Parameter(start[name], **given) for name, given in bounds.items()},
        phantom,
        iterations=iterations,
        arguments={"matrix": COARSE},
        matrix=COARSE,
        accuracy=ACCURACY,
        progress=False,
        **settings,
    )


def judged_contrast(protocol: Mapping[str, float]) -> float:
    """Contrast of the middle of k-space per √s, by Bloch isochromats of the exported file."""
    sequence = mprage(**protocol, n_dummy=6, matrix=(MATRIX[0], 1, MATRIX[2]))
    middle = PARTITIONS // 2 * MATRIX[0] + MATRIX[0] // 2
    found = []
    for PD, *times in TISSUES.values():
        pool = TissuePool.of(torch.full((1, 1), PD), *times)
        voxel = Phantom({"tissue": pool}, {}, (7e-3, 7e-3), 8e-3)
        found.append(float(judged(sequence, voxel)[middle].abs()))
    # The judge's slice is twice as thick, for pulses that select one
    contrast = (found[0] - found[1]) / 2
    return contrast / math.sqrt(period(protocol["TI"], protocol["recovery"]))


def make(iterations: int = 20) -> tuple[Figure, dict[str, Any]]:
    """Optimize, compare, and draw."""
    phantom = head()
    result = optimized(phantom, PROTOCOLS["ADNI"], iterations)
    protocols = {
        **PROTOCOLS,
        "closed form": best_by_formula(),
        "optimized": {name: float(value) for name, value in result.best.items()},
    }
    contrast = Contrast(phantom)
    model = pulseq_zero.ImagingModel(mprage, phantom, matrix=MATRIX, accuracy=ACCURACY)
    numbers: dict[str, Any] = {
        f"closed form, {pulses} pulses, recovery {recovery} s": {
            **(best := best_by_formula(recovery, pulses)),
            "flip_deg": math.degrees(best["flip_angle"]),
            "formula": float(closed_form(**best, pulses=pulses)),
        }
        for pulses in (PARTITIONS, 160)
        for recovery in (0.0, 0.6, 3.0)
    }
    images = {}
    for name, protocol in protocols.items():
        with torch.no_grad():
            image = model(protocol).image
        images[name] = image.abs()[:, :, MATRIX[2] // 2] / math.sqrt(
            period(protocol["TI"], protocol["recovery"])
        )
        numbers[name] = {
            **protocol,
            "flip_deg": math.degrees(protocol["flip_angle"]),
            "contrast": float(contrast({k: torch.tensor(v) for k, v in protocol.items()}, image)),
            "formula": float(closed_form(**protocol)),
            "judged": judged_contrast(protocol),
        }
    return draw(protocols, numbers, images), numbers


def draw(
    protocols: Mapping[str, Mapping[str, float]],
    numbers: Mapping[str, Any],
    images: Mapping[str, Tensor],
) -> Figure:
    """Draw images, and the closed form over flip angle and inversion time."""
    colours = {"ADNI": GREY, "Wang 2014": ORANGE, "optimized": BLUE}
    best = protocols["optimized"]
    with style():
        figure, (pictures, (over_angle, over_time)) = panels(
            image_row(3), chart_row(1.0, 1.0, height=5.6)
        )
        brightest = max(float(images[name].max()) for name in colours)
        for axes, name in zip(pictures, colours, strict=True):
            show_image(axes, images[name], name, label="M₀ / √s", vmin=0, vmax=brightest)
        angles, times = np.radians(np.linspace(1, 45, 89)), np.linspace(0.15, 2.0, 75)
        over_angle.plot(
            np.degrees(angles), closed_form(best["TI"], angles, best["recovery"]), color="black"
        )
        over_time.plot(
            times, closed_form(times, best["flip_angle"], best["recovery"]), color="black",
            label="closed form, else as optimized",
        )  # fmt: skip
        for name, colour in colours.items():
            of_it = numbers[name]
            over_angle.plot(of_it["flip_deg"], of_it["contrast"], "o", color=colour)
            over_time.plot(of_it["TI"], of_it["contrast"], "o", color=colour, label=name)
        label = "Contrast per √period [M₀ / √s]"
        over_angle.set(title="Over the flip angle", xlabel="Flip angle [°]", ylabel=label)
        over_time.set(title="Over the inversion time", xlabel="TI [s]", ylabel=label)
        for axes in (over_angle, over_time):
            axes.grid(True)
        legend_below(over_time)
    return figure


if __name__ == "__main__":
    save_example("mprage", make)

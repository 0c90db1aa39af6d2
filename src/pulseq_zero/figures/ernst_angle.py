"""Figure of a contrast over the flip angle: images, the course of the angle, scan, closed form."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import BLACK, BLUE, GREY, ORANGE, rows, show_image, style


def ernst_angle_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    flip_angle: Tensor,
    best_iteration: int,
    scan: pd.DataFrame,
    closed_form: pd.DataFrame,
    accuracy: float,
) -> Figure:
    """Draw the flip angle experiment.

    Parameters
    ----------
    start, optimized
        (x, y) images at the start and at the best flip angle.
    history
        A row an iteration with the column ``loss``, the negative contrast.
    flip_angle
        (iterations,) its course [rad].
    best_iteration
        The iteration that the optimized image belongs to.
    scan
        ``loss`` over ``flip_angle`` [rad], of the simulation.
    closed_form
        Contrast over ``flip_angle`` [rad] by Ernst's formula: ``tissues`` with the values of the
        tissue table alone, ``phantom`` with the phantom's B1 and mixed voxels.
    accuracy
        Accuracy of the simulation that images and scan were made with.
    """
    degrees = torch.rad2deg(flip_angle).numpy()
    best = degrees[best_iteration]
    best_contrast = -history["loss"][best_iteration]
    brightest = float(max(start.abs().max(), optimized.abs().max()))
    formula_deg = np.rad2deg(closed_form["flip_angle"])
    with style():
        figure = plt.figure(figsize=(7.2, 5.8))
        upper, lower = rows(figure, 1.0, 1.05)
        for axes, image, title in zip(
            upper.subplots(1, 2),
            (start, optimized),
            (f"Start, {degrees[0]:.0f}°", f"Optimized, {best:.1f}°"),
            strict=True,
        ):
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest)

        course, contrast = lower.subplots(1, 2, width_ratios=(1.0, 1.5))
        course.plot(history["iteration"], degrees, color=BLUE)
        course.set(title="Flip angle", xlabel="Iteration", ylabel="Flip angle [°]")

        contrast.plot(
            formula_deg, closed_form["tissues"], color=GREY, ls="--", label="formula, tissues alone"
        )
        contrast.plot(
            formula_deg, closed_form["phantom"], color=ORANGE, label="formula, phantom's B1"
        )
        contrast.plot(
            np.rad2deg(scan["flip_angle"]), -scan["loss"], ".", ms=4, color=BLACK, label="scan"
        )
        contrast.plot(best, best_contrast, "o", ms=7, mfc="none", color=BLUE, label="optimized")
        contrast.axhline(0, color=BLACK, lw=0.6)
        contrast.set(
            title="White minus grey matter", xlabel="Flip angle [°]", ylabel="Contrast [a.u.]"
        )
        contrast.legend(loc="lower right")
        for axes in (course, contrast):
            axes.grid(True)
        figure.supxlabel(f"Images and scan simulated at accuracy {accuracy:g}", fontsize=7)
    return figure

"""Figure of a flip angle optimization: images, the course of the angles, losses and quality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    rows,
    show_image,
    style,
)


def flip_angles_figure(
    target: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    flip_angles: Tensor,
    quality: pd.DataFrame,
    best_iteration: int,
    accuracy: float,
) -> Figure:
    """Draw the flip angle experiment.

    Parameters
    ----------
    target, optimized
        (x, y) images of the start and of the best angles.
    history
        A row an iteration with the columns ``loss``, ``image`` and ``sar``.
    flip_angles
        (iterations, shots, pulses) the course of the angles [rad]; in each shot the excitation
        comes first.
    quality
        ``iteration``, ``nrmse``, ``ssim`` and ``relative_sar`` at a tight accuracy.
    best_iteration
        The iteration that the optimized image belongs to.
    accuracy
        Accuracy of the simulation that images and quality were made with.
    """
    brightest = float(target.abs().max())
    difference = optimized.abs() - target.abs()
    largest = float(difference.abs().max())
    with style():
        figure = plt.figure(figsize=(7.2, 8.2))
        upper, middle, lower = rows(figure, 1.0, 1.05, 1.05)
        first, second, third = upper.subplots(1, 3)
        show_image(first, target.abs(), "Target", vmin=0, vmax=brightest)
        title = f"Optimized, iteration {best_iteration}"
        show_image(second, optimized.abs(), title, vmin=0, vmax=brightest)
        show_image(third, difference, "Difference", cmap="PuOr", vmin=-largest, vmax=largest)

        _draw_angles(middle.subplots(1, 1), middle, flip_angles)

        losses, error = lower.subplots(1, 2)
        iteration, scale = history["iteration"], history["loss"].iloc[0]
        losses.plot(iteration, history["loss"] / scale, color=BLUE, label="total")
        losses.plot(iteration, history["sar"] / scale, color=GREEN, label="SAR")
        losses.plot(iteration, history["image"] / scale, color=ORANGE, label="image")
        losses.axvline(best_iteration, color=GREY, lw=0.8, ls=":")
        losses.set(title="Losses, relative to the start", xlabel="Iteration", ylim=(0, None))
        losses.legend()
        losses.grid(True)

        error.plot(quality["iteration"], quality["nrmse"], color=RED, label="NRMSE")
        error.plot(quality["iteration"], 1 - quality["ssim"], color=PURPLE, label="1 - SSIM")
        error.set(title=f"Image error at accuracy {accuracy:g}", xlabel="Iteration", ylim=(0, None))
        error.axvline(best_iteration, color=GREY, lw=0.8, ls=":")
        error.legend()
        error.grid(True)
    return figure


def _draw_angles(axes: Axes, figure: SubFigure, flip_angles: Tensor) -> None:
    """Draw angles over iterations, coloured by their place in the echo train."""
    degrees = torch.rad2deg(flip_angles).numpy()
    iterations = np.arange(len(degrees))
    echoes = degrees.shape[2] - 1
    colours, norm = plt.get_cmap("cividis"), Normalize(1, echoes)
    for shot in range(degrees.shape[1]):
        dashes = "--" if shot == 0 else "-"
        axes.plot(iterations, degrees[:, shot, 0], color=BLACK, lw=0.9, ls=dashes)
        for echo in range(1, echoes + 1):
            colour = colours(norm(echo))
            axes.plot(iterations, degrees[:, shot, echo], color=colour, lw=0.9, ls=dashes)
    axes.plot([], [], color=BLACK, lw=0.9, label="excitation")
    axes.plot([], [], color=GREY, lw=0.9, ls="--", label="shot without ADC")
    axes.set(title="Flip angles", xlabel="Iteration", ylabel="Flip angle [°]")
    axes.set_yticks(np.arange(0, 226, 45))
    axes.grid(True)
    axes.legend(loc="lower left")
    mappable = plt.cm.ScalarMappable(norm, colours)
    figure.colorbar(mappable, ax=axes, label="Refocusing pulse")

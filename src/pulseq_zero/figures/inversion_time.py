"""Figure of an inversion time optimization: images, the course of TI, the loss and its scan."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, rows, show_image, style


def inversion_time_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    inversion_time: Tensor,
    best_iteration: int,
    scan: pd.DataFrame,
    analytic_null: float,
    accuracy: float,
) -> Figure:
    """Draw the inversion time experiment.

    Parameters
    ----------
    start, optimized
        (x, y) images at the start and at the best inversion time.
    history
        A row an iteration with the columns ``loss``, ``csf`` and ``brain``; the last is
        negative, as a term of the loss.
    inversion_time
        (iterations,) its course [s].
    best_iteration
        The iteration that the optimized image belongs to.
    scan
        The same terms over the inversion time in the column ``TI`` [s].
    analytic_null
        Where inversion recovery after a perfect inversion nulls CSF, ln(2) T1 [s].
    accuracy
        Accuracy of the simulation that images and scan were made with.
    """
    optimum = float(scan["TI"][scan["loss"].idxmin()])
    best, best_loss = float(inversion_time[best_iteration]), history["loss"][best_iteration]
    brightest = float(max(start.abs().max(), optimized.abs().max()))
    with style():
        figure = plt.figure(figsize=(7.2, 6.0))
        upper, lower = rows(figure, 1.0, 1.05)
        first, second = upper.subplots(1, 2)
        for axes, image, title in (
            (first, start, f"Start, TI = {float(inversion_time[0]):.2f} s"),
            (second, optimized, f"Optimized, TI = {best:.2f} s"),
        ):
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest)

        course, losses, brute_force = lower.subplots(1, 3)
        course.plot(history["iteration"], inversion_time, color=BLUE)
        course.axhline(analytic_null, color=GREY, ls="--", lw=1, label=r"$\ln 2\,T_1$ (CSF)")
        course.axhline(optimum, color=RED, ls=":", lw=1.2, label="scan minimum")
        course.set(title="Inversion time", xlabel="Iteration", ylabel="TI [s]")
        course.legend(loc="lower right")

        losses.plot(history["iteration"], history["loss"], color=BLUE, label="loss")
        losses.plot(history["iteration"], -history["brain"], color=ORANGE, label="mean brain")
        losses.plot(history["iteration"], history["csf"], color=GREEN, label="CSF")
        losses.set(title="Loss and mean signals", xlabel="Iteration", ylabel="Signal [a.u.]")
        losses.legend(loc="upper right", bbox_to_anchor=(1.0, 0.62))

        brute_force.plot(scan["TI"], scan["loss"], color=BLACK, lw=1)
        brute_force.plot(best, best_loss, "o", color=BLUE, label="optimized")
        brute_force.axvline(analytic_null, color=GREY, ls="--", lw=1)
        brute_force.axvline(optimum, color=RED, ls=":", lw=1.2)
        brute_force.set(title="Scan of TI", xlabel="TI [s]", ylabel="Loss [a.u.]")
        brute_force.legend(loc="upper right")
        for axes in (course, losses, brute_force):
            axes.grid(True)
        figure.supxlabel(f"Images and scan simulated at accuracy {accuracy:g}", fontsize=7)
    return figure

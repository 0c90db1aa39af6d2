"""Figures of sweeps: how what was found depends on what was swept."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import BLACK, BLUE, GREY, ORANGE, RED, rows, show_image, style

_SHOWN_IMAGES = 4


def sweep_figure(results: pd.DataFrame, settings: list[str], found: list[str]) -> Figure:
    """Draw the loss and the scalar parameters over the first setting of any sweep.

    Parameters
    ----------
    results
        The table of `pulseq_zero.experiments.sweeps.sweep_results`.
    settings
        The swept settings; each combination of those after the first is a line.
    found
        Names of the scalar parameters.
    """
    with style():
        figure = plt.figure(figsize=(7.2, 2.8 * (1 + len(found))))
        panels = np.atleast_1d(figure.subplots(1 + len(found), 1))
        for axes, name in zip(panels, ["loss", *found], strict=True):
            _lines(axes, results, settings, name)
            axes.set(ylabel=name)
            axes.grid(True)
        panels[-1].set_xlabel(settings[0])
        if len(settings) > 1:
            panels[0].legend()
    return figure


def inversion_time_sweep_figure(results: pd.DataFrame, settings: list[str]) -> Figure:
    """Draw the found inversion times beside the minima of the scans and the analytic null.

    Parameters
    ----------
    results
        The table, with ``TI``, ``scan_optimum`` and ``analytic_null_s`` [s].
    settings
        The swept settings; drawn is over the first.
    """
    table = results.sort_values(settings[0])
    at = table[settings[0]]
    with style():
        figure = plt.figure(figsize=(7.2, 3.2))
        times, deviation = figure.subplots(1, 2)
        times.plot(at, table["scan_optimum"], "o", mfc="none", color=RED, label="scan minimum")
        times.plot(at, table["TI"], "x", color=BLUE, label="found by gradient descent")
        times.plot(at, table["analytic_null_s"], color=GREY, ls="--", label=r"$\ln 2\,T_1$ (CSF)")
        times.set(title="Inversion time", xlabel=settings[0], ylabel="TI [s]")
        times.legend()
        percent = 100 * (table["TI"] / table["scan_optimum"] - 1)
        deviation.plot(at, percent, "o-", color=BLUE)
        deviation.axhline(0, color=BLACK, lw=0.8)
        for bound in (-1, 1):
            deviation.axhline(bound, color=GREY, ls=":", lw=1)
        largest = max(1.2, 1.1 * float(percent.abs().max()))
        deviation.set(
            title="Found against scan minimum",
            xlabel=settings[0],
            ylabel="deviation [%]",
            ylim=(-largest, largest),
        )
        for axes in (times, deviation):
            axes.grid(True)
    return figure


def front_figure(
    results: pd.DataFrame,
    compared: pd.DataFrame,
    images: Mapping[str, Tensor],
    target: Tensor,
    accuracy: float,
) -> Figure:
    """Draw the front between RF power and image quality, and images along it.

    Parameters
    ----------
    results
        The runs of the sweep, with ``relative_sar``, ``nrmse_to_start``, ``ssim_to_start`` and
        ``point_spread_width_m``.
    compared
        Stages of other experiments with the same columns.
    images
        (x, y) images of rows of both tables, by ``run``, and ``run stage`` for the others.
    target
        (x, y) image of the start values.
    accuracy
        Accuracy of the simulation of all images.
    """
    chosen = _spread(results)
    shown = {f"run {label}": images[str(results["run"][label])] for label in chosen}
    rows_shown = [results.loc[label] for label in chosen]
    if len(compared):
        other = compared.iloc[-1]
        shown = {**shown, str(other["run"]): images[f"{other['run']} {other['stage']}"]}
        rows_shown.append(other)
    differences = [image.abs() - target.abs() for image in shown.values()]
    largest = max(float(difference.abs().max()) for difference in differences)
    brightest = float(target.abs().max())
    with style():
        figure = plt.figure(figsize=(7.2, 6.2))
        upper, lower = rows(figure, 1.0, 1.6)
        _fronts(upper.subplots(1, 3), results, compared)
        panels, below = lower.subplots(2, len(shown) + 1)
        show_image(panels[0], target.abs(), "Target", vmin=0, vmax=brightest, colour_bar=False)
        below[0].set_axis_off()
        for axes, under, image, difference, row in zip(
            panels[1:], below[1:], shown.values(), differences, rows_shown, strict=True
        ):
            title = f"{'' if row['run'] in set(results['run']) else row['run'] + ': '}SAR "
            title += f"{row['relative_sar']:.2f}"
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest, colour_bar=False)
            drawn = show_image(
                under,
                difference,
                f"NRMSE {row['nrmse_to_start']:.3f}",
                cmap="PuOr",
                vmin=-largest,
                vmax=largest,
                colour_bar=False,
            )
        bar = below[0].inset_axes((0.75, 0.1, 0.08, 0.8))
        lower.colorbar(drawn, cax=bar, label="Difference", ticklocation="left")
        figure.supxlabel(f"Images simulated at accuracy {accuracy:g}", fontsize=7)
    return figure


def _fronts(panels: np.ndarray, results: pd.DataFrame, compared: pd.DataFrame) -> None:
    table = results.sort_values("relative_sar")
    for axes, column, title, factor in (
        (panels[0], "nrmse_to_start", "Image error (NRMSE)", 1.0),
        (panels[1], "ssim_to_start", "Similarity (SSIM)", 1.0),
        (panels[2], "point_spread_width_m", "Point spread, FWHM [mm]", 1e3),
    ):
        axes.plot(table["relative_sar"], factor * table[column], "o-", color=BLUE, label="sweep")
        for number, (name, stages) in enumerate(compared.groupby("run", sort=False)):
            axes.plot(
                stages["relative_sar"],
                factor * stages[column],
                "s",
                color=(ORANGE, RED)[number % 2],
                label=name,
            )
        axes.set(title=title, xlabel="Relative SAR")
        axes.grid(True)
    panels[0].legend()


def _spread(results: pd.DataFrame) -> list[int]:
    """Choose runs along the front, its ends among them."""
    order = results.sort_values("relative_sar").index.tolist()
    places = np.linspace(0, len(order) - 1, min(_SHOWN_IMAGES - 1, len(order))).round()
    return [order[int(place)] for place in places]


def _lines(axes: Axes, results: pd.DataFrame, settings: list[str], name: str) -> None:
    first, *others = settings
    groups = results.groupby(others, sort=False) if others else [((), results)]
    for values, group in groups:
        label = ", ".join(f"{key} = {value}" for key, value in zip(others, values, strict=True))
        if pd.api.types.is_number(group[first].iloc[0]):
            ordered = group.sort_values(first)
            axes.plot(ordered[first], ordered[name], "o-", label=label)
        else:
            axes.plot(group[first].map(str), group[name], "o-", label=label)

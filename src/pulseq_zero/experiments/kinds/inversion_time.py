"""The inversion time that nulls a tissue: its course, the loss, and a scan of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup, loss_setting
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SIGNAL,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_pair,
    style,
)
from pulseq_zero.phantom import Phantom


class Kind(kind.Kind):
    """A scalar parameter, an inversion time [s], that is scanned as well.

    The tissue to be nulled is the one that the loss's setting ``dark`` names.
    """

    sections = ("loss", "scan")
    needs = (kind.SCAN, kind.PHANTOM)
    abstract = "flair"
    sweep_caption = "The minimum of the scan is that of the same loss; dotted lines are 1 % off it."

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:
        """Check that there are a scan and a tissue."""
        kind.require(
            kind.is_scanned(experiment, setup), "inversion_time", "a scan of the inversion time"
        )
        kind.require(
            loss_setting(experiment.loss, "dark") is not None,
            "inversion_time",
            "a loss whose setting dark names the tissue that is nulled, as "
            "in pulseq_zero.optimization.losses:contrast",
        )

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw images, the course of the inversion time, the loss, and its scan."""
        name = _name(experiment)
        dark, bright = (loss_setting(experiment.loss, tissue) for tissue in ("dark", "bright"))
        return inversion_time_figure(
            results.start,
            results.optimized,
            results.history,
            results.parameters[name],
            results.best,
            results.scan.rename(columns={name: "TI"}),
            results.minima.rename(columns={name: "TI"}),
            self.closed_forms(experiment, kind.given(results.phantom))["analytic_null_s"],
            results.accuracy,
            dark=dark,
            bright=bright,
        )

    def draw_sweep(self, experiment: Experiment, results: kind.SweepResults) -> Figure:
        """Draw what was found beside minima of scans and analytic nulls."""
        return inversion_time_sweep_figure(
            results.runs.rename(columns={_name(experiment): "TI"}),
            results.settings,
            loss_setting(experiment.loss, "dark"),
        )

    def closed_forms(self, experiment: Experiment, phantom: Phantom) -> dict[str, float]:
        """Give the inversion time that nulls the tissue."""
        return {"analytic_null_s": analytic_null(phantom, loss_setting(experiment.loss, "dark"))}

    def summary(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Choose inversion times and losses."""
        inversion_time = numbers["parameters"][numbers["scan"]["parameter"]]
        return {
            "ti_start_s": inversion_time["start"],
            "ti_final_s": inversion_time["last"],
            "ti_best_s": inversion_time["best"],
            "ti_scan_optimum_s": numbers["scan"]["optimum"],
            "ti_uncertainty_s": numbers["scan"]["uncertainty"],
            "ti_variants_s": {
                name: variant["optimum"] for name, variant in numbers["scan"]["variants"].items()
            },
            "ti_analytic_null_s": numbers["closed_forms"]["analytic_null_s"],
            "iterations": numbers["iterations"],
            "seconds_per_iteration": numbers["seconds_per_iteration"],
            "loss_start": numbers["loss"]["start"],
            "loss_final": numbers["loss"]["last"],
        }


def _name(experiment: Experiment) -> str:
    """Name of the inversion time."""
    return kind.given(experiment.scan).parameter


def analytic_null(phantom: Phantom, region: str) -> float:
    r"""Inversion time at which a perfect inversion nulls a region [s].

    .. math:: 1 - 2 e^{-TI / T_1} = 0 \Rightarrow TI = \ln 2 \; T_1

    for full relaxation before the inversion, with the T1 of the tissue pool of that name, or,
    where the phantom has none, of the voxels that lie in the region most wholly.
    """
    share = phantom.masks[region]
    pool = phantom.pools.get(region)
    T1 = phantom.maps()["T1"] if pool is None else pool.T1
    return math.log(2) * float(T1[share >= share.max()].mean())


def inversion_time_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    inversion_time: Tensor,
    best_iteration: int,
    scan: pd.DataFrame,
    minima: pd.DataFrame,
    analytic_null: float,
    accuracy: float,
    *,
    dark: str,
    bright: str | None,
) -> Figure:
    """Draw the inversion time experiment.

    Parameters
    ----------
    start, optimized
        (x, y) images at the start and at the best inversion time.
    history
        A row an iteration with ``loss`` and its terms; that of the bright tissue is negative.
    inversion_time
        (iterations,) its course [s].
    best_iteration
        The iteration that the optimized image belongs to.
    scan
        ``loss`` over the inversion time in the column ``TI`` [s].
    minima
        Its minimum as it is, and with something changed: ``variant``, ``TI`` [s], and the standard
        deviation of that, ``uncertainty`` [s].
    analytic_null
        Where inversion recovery after a perfect inversion nulls the dark tissue, ln(2) T1 [s].
    accuracy
        Accuracy of the simulation that images and scan were made with.
    dark, bright
        Names of the tissues.
    """
    optimum = float(minima["TI"][0])
    best, best_loss = float(inversion_time[best_iteration]), history["loss"][best_iteration]
    layout = [image_row(2), chart_row(1.0, 1.0, 1.0, height=6.0)]
    if len(minima) > 1:
        layout.append(chart_row(1.0, height=1.8 + 0.42 * len(minima)))
    with style():
        figure, (pictures, (course, losses, brute_force), *varied) = panels(
            *layout, note=f"Images and scan simulated at accuracy {accuracy:g}"
        )
        titles = (f"Start, TI = {float(inversion_time[0]):.2f} s", f"Optimized, TI = {best:.2f} s")
        show_pair(pictures, start, optimized, titles, SIGNAL)

        course.plot(history["iteration"], inversion_time, color=BLUE, label="TI")
        course.axhline(analytic_null, color=GREY, ls="--", lw=1, label=_null(dark))
        course.axhline(optimum, color=RED, ls=":", lw=1.2, label="scan minimum")
        course.set(title="Inversion time", xlabel="Iteration", ylabel="TI [s]")

        losses.plot(history["iteration"], history["loss"], color=BLUE, label="loss")
        for term, colour in zip(reversed(loss_terms(history)), (ORANGE, GREEN, RED), strict=False):
            # What is made brighter is a negative term of the loss
            sign, label = (-1, f"mean {term}") if term == bright else (1, kind.tissue(term))
            losses.plot(history["iteration"], sign * history[term], color=colour, label=label)
        losses.set(title="Loss and mean signals", xlabel="Iteration", ylabel=SIGNAL)

        brute_force.plot(scan["TI"], scan["loss"], color=BLACK, lw=1, label="scan")
        brute_force.plot(best, best_loss, "o", color=BLUE, label="optimized")
        brute_force.axvline(analytic_null, color=GREY, ls="--", lw=1)
        brute_force.axvline(optimum, color=RED, ls=":", lw=1.2)
        brute_force.set(
            title="Scan of TI", xlabel="TI [s]", ylabel=SIGNAL.replace("Signal", "Loss")
        )
        for axes in (course, losses, brute_force):
            axes.grid(True)
            legend_below(axes)
        for (axes,) in varied:
            _draw_minima(axes, minima, analytic_null)
    return figure


def _draw_minima(axes: Axes, minima: pd.DataFrame, analytic_null: float) -> None:
    """Draw where the scan has its minimum as it is, and with something changed."""
    places = range(len(minima))
    axes.errorbar(minima["TI"], places, xerr=minima["uncertainty"], fmt="o", color=RED, ms=4, lw=1)
    axes.axvline(analytic_null, color=GREY, ls="--", lw=1)
    axes.axvline(minima["TI"][0], color=RED, ls=":", lw=1.2)
    axes.set_title("Scan minimum, varied")
    axes.set(xlabel="TI ± SD over pixels [s]", ylim=(len(minima) - 0.5, -0.5))
    axes.set_yticks(places, minima["variant"])
    axes.grid(True)


def inversion_time_sweep_figure(
    results: pd.DataFrame, settings: Mapping[str, str], dark: str
) -> Figure:
    """Draw the found inversion times beside the minima of the scans and the analytic null.

    Parameters
    ----------
    results
        The table, with ``TI``, ``scan_optimum`` and ``analytic_null_s`` [s].
    settings
        The swept settings, each with its label; drawn is over the first.
    dark
        Name of the tissue that is nulled.
    """
    (setting, label), *_ = settings.items()
    table = results.sort_values(setting)
    at = table[setting]
    with style():
        figure, ((times, deviation),) = panels(chart_row(1.0, 1.0, height=6.2))
        times.plot(at, table["scan_optimum"], "o", mfc="none", color=RED, label="scan minimum")
        times.plot(at, table["TI"], "x", color=BLUE, label="found by gradient descent")
        times.plot(at, table["analytic_null_s"], color=GREY, ls="--", label=_null(dark))
        times.set(title="Inversion time", xlabel=label, ylabel="TI [s]")
        legend_below(times)
        percent = 100 * (table["TI"] / table["scan_optimum"] - 1)
        deviation.plot(at, percent, "o-", color=BLUE)
        deviation.axhline(0, color=BLACK, lw=0.8)
        for bound in (-1, 1):
            deviation.axhline(bound, color=GREY, ls=":", lw=1)
        largest = max(1.2, 1.1 * float(percent.abs().max()))
        deviation.set(
            title="Found against scan minimum",
            xlabel=label,
            ylabel="Deviation [%]",
            ylim=(-largest, largest),
        )
        for axes in (times, deviation):
            axes.grid(True)
    return figure


def _null(tissue: str) -> str:
    return rf"$\ln 2\,T_1$ ({kind.tissue(tissue)})"

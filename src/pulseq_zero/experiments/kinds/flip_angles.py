"""Flip angles against RF power: courses, losses, image quality, and the front between both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SIGNAL,
    chart_row,
    image_row,
    legend_below,
    legend_outside,
    panels,
    show_image,
    style,
)

# Of the runs of a sweep
_SHOWN_IMAGES = 4
# What losses call the term of RF power, and its label
_POWER = {"sar": "SAR", "power": "RF power"}
# Terms of the loss that stay below this part of what it is at the start have a scale of their own
_SMALL = 0.2


class Kind(kind.Kind):
    """Flip angles (shots, pulses) [rad], in each shot the excitation first.

    Their name is the loss's setting ``flip_angles``.
    """

    sections = ("parameters", "loss")
    needs = (kind.QUALITY,)
    abstract = "tse"
    sweep_caption = (
        "Relative SAR of the shots that are measured against the error in the brain, and in the "
        "whole image, and of all shots against the width of the point-spread function along the "
        "phase-encoding direction. Baselines are families over one angle. Every point is simulated "
        "at the tight accuracy."
    )

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:
        """Check that there are flip angles."""
        kind.require_flip_angles(experiment, setup, "flip_angles", ("shot", "pulse of it"))

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw images, the courses of the angles, losses and quality."""
        return flip_angles_figure(
            results.start,
            results.optimized,
            results.history,
            results.parameters[kind.given(experiment.flip_angles)],
            results.quality,
            results.best,
            results.accuracy,
        )

    def draw_sweep(self, experiment: Experiment, results: kind.SweepResults) -> Figure:
        """Draw the front between RF power and image quality."""
        return front_figure(
            results.runs,
            results.compared,
            results.baselines,
            results.images,
            results.start,
            results.accuracy,
        )

    def summary(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Choose power and image errors."""
        stages = numbers["stages"]
        best = stages["optimized"]
        summary = {
            "iterations": numbers["iterations"],
            "best_iteration": numbers["best_iteration"],
            "sar_ratio_best": best["relative_sar"],
            **{
                key: best[key]
                for key in ("relative_sar_measured", "nrmse_brain", "nrmse_csf")
                if key in best
            },
            "nrmse_best": numbers["nrmse_to_start_in_optimization"],
            "nrmse_best_tight": best["nrmse_to_start"],
            "ssim_best": best["ssim_to_start"],
            "seconds_per_iteration": numbers["seconds_per_iteration"],
        }
        for stage in stages.values():
            at = f"at_{stage['iteration']}"
            if stage is not best and stage["iteration"] > 0:
                summary[f"sar_ratio_{at}"] = stage["relative_sar"]
                summary[f"nrmse_{at}"] = stage["nrmse_to_start"]
                summary[f"ssim_{at}"] = stage["ssim_to_start"]
        return summary


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
        A row an iteration with ``loss`` and its terms.
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
        figure, ((first, second, third), (angles,), (losses, kept, error)) = panels(
            image_row(3), chart_row(1.0, height=6.2), chart_row(1.0, 1.0, 1.0, height=5.8)
        )
        show_image(first, target.abs(), "Target", label=SIGNAL, vmin=0, vmax=brightest)
        title = f"Optimized, iteration {best_iteration}"
        show_image(second, optimized.abs(), title, label=SIGNAL, vmin=0, vmax=brightest)
        show_image(
            third,
            difference,
            "Difference",
            label=SIGNAL,
            cmap="PuOr",
            vmin=-largest,
            vmax=largest,
        )

        _draw_angles(angles, flip_angles)

        iteration, at_start = history["iteration"], history["loss"].iloc[0]
        losses.plot(iteration, history["loss"] / at_start, color=BLUE, label="total")
        others = [name for name in loss_terms(history) if name not in _POWER]
        colours = dict(zip(others, (ORANGE, GREEN, RED), strict=False))
        courses = {
            name: history[name] / at_start for name in (*_POWER, *colours) if name in history
        }
        # A small term is flat beside the loss
        smallest = sorted(courses, key=lambda name: courses[name].abs().max())
        small = [name for name in smallest if courses[name].abs().max() < _SMALL] or smallest[:1]
        for name, course in courses.items():
            axes = kept if name in small else losses
            label, colour = _POWER.get(name, name), colours.get(name, PURPLE)
            axes.plot(iteration, course, color=colour, label=label)
        losses.set(title="Loss, relative to the start", ylim=(0, None))
        kept.set(title="Small terms, on the same scale", ylim=(0, None))

        error.plot(quality["iteration"], quality["nrmse"], color=RED, label="NRMSE")
        error.plot(quality["iteration"], 1 - quality["ssim"], color=PURPLE, label="1 − SSIM")
        error.set(title=f"Image error at accuracy {accuracy:g}", ylim=(0, None))
        for axes in (losses, kept, error):
            axes.set_xlabel("Iteration")
            axes.axvline(best_iteration, color=GREY, lw=0.8, ls=":")
            axes.grid(True)
            legend_below(axes)
    return figure


def _draw_angles(axes: Axes, flip_angles: Tensor) -> None:
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
    legend_below(axes)
    mappable = plt.cm.ScalarMappable(norm, colours)
    axes.figure.colorbar(mappable, ax=axes, label="Refocusing pulse")


def front_figure(
    results: pd.DataFrame,
    compared: pd.DataFrame,
    baselines: pd.DataFrame,
    images: Mapping[str, Tensor],
    target: Tensor,
    accuracy: float,
) -> Figure:
    """Draw the front between RF power and image quality, and images along it.

    Parameters
    ----------
    results
        The runs of the sweep, with ``relative_sar``, ``nrmse_to_start`` and
        ``point_spread_width_m``, and what there is of ``relative_sar_measured`` and
        ``nrmse_brain``.
    compared
        Stages of other experiments with the same columns.
    baselines
        Flip angles to compare with, by their ``baseline``, with the same columns but for the
        point-spread function.
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
    power, error = _axes_of(results)
    with style():
        count = len(shown) + 1
        figure, (fronts, above, below) = panels(
            chart_row(1.0, 1.0, 1.0, height=6.6),
            image_row(count, in_page=count, in_column=3, titles=2),
            image_row(count, in_page=count, in_column=3, titles=2),
            note=f"Images simulated at accuracy {accuracy:g}",
        )
        _fronts(fronts, results, compared, baselines)
        show_image(above[0], target.abs(), "Target", vmin=0, vmax=brightest, colour_bar=False)
        below[0].set_axis_off()
        for axes, under, image, difference, row in zip(
            above[1:], below[1:], shown.values(), differences, rows_shown, strict=True
        ):
            title = "" if row["run"] in set(results["run"]) else f"{row['run']}\n"
            title += f"SAR {row[power]:.2f}"
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest, colour_bar=False)
            drawn = show_image(
                under,
                difference,
                f"{'Brain ' if error == 'nrmse_brain' else ''}NRMSE\n{row[error]:.3f}",
                cmap="PuOr",
                vmin=-largest,
                vmax=largest,
                colour_bar=False,
            )
        bar = below[0].inset_axes((0.75, 0.1, 0.08, 0.8))
        below[0].figure.colorbar(drawn, cax=bar, label="Difference", ticklocation="left")
    return figure


def _axes_of(results: pd.DataFrame) -> tuple[str, str]:
    """Choose power and error: of measured shots and the brain, where these are known."""
    power = "relative_sar_measured" if "relative_sar_measured" in results else "relative_sar"
    return power, "nrmse_brain" if "nrmse_brain" in results else "nrmse_to_start"


def _fronts(
    panels: Sequence[Axes], results: pd.DataFrame, compared: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    power, error = _axes_of(results)
    named = "measured shots" if power == "relative_sar_measured" else "all shots"
    in_brain = "Brain (NRMSE)" if error == "nrmse_brain" else "Image error (NRMSE)"
    for axes, x, y, title, label, factor in (
        (panels[0], power, error, in_brain, f"Relative SAR, {named}", 1.0),
        (panels[1], power, "nrmse_to_start", "Whole image (NRMSE)", f"Relative SAR, {named}", 1.0),
        (
            panels[2], "relative_sar", "point_spread_width_m",
            "Point spread, FWHM [mm]", "Relative SAR, all shots", 1e3,
        ),
    ):  # fmt: skip
        axes.plot(results[x], factor * results[y], "o", color=BLUE, label="optimized")
        for number, (name, stages) in enumerate(compared.groupby("run", sort=False)):
            colour = (ORANGE, RED)[number % 2]
            axes.plot(stages[x], factor * stages[y], "s", color=colour, label=name)
        axes.set(title=title, xlabel=label)
        axes.grid(True)
        if y in baselines:
            for number, (name, family) in enumerate(baselines.groupby("baseline", sort=False)):
                dashes = ("-", "--", ":")[number % 3]
                ordered = family.sort_values("value")
                axes.plot(ordered[x], factor * ordered[y], dashes, color=GREY, label=name)
            # The start is where power is 1 and nothing has changed
            axes.plot(1, 0, "k+", clip_on=False)
            axes.set_ylim(0, None)
    legend_outside(panels[0])


def _spread(results: pd.DataFrame) -> list[int]:
    """Choose runs along the front, its ends among them."""
    order = results.sort_values(_axes_of(results)[0]).index.tolist()
    places = np.linspace(0, len(order) - 1, min(_SHOWN_IMAGES - 1, len(order))).round()
    return [order[int(place)] for place in places]

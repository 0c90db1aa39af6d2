"""The flip angle of a spoiled gradient echo for contrast: its course, a scan, a closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.closed_forms import ExcitedSlice, ernst_contrast
from pulseq_zero.experiments.experiment import SequenceSetup, loss_setting, sequence_setup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SIGNAL,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_pair,
    style,
)
from pulseq_zero.imaging.slices import largest_field
from pulseq_zero.phantom import Phantom


class Kind(kind.Kind):
    """A scalar parameter, a flip angle [rad], that is scanned as well.

    The tissues are those that the loss's settings ``bright`` and ``dark`` name; repetition and
    echo time are the sequence function's arguments ``TR`` and ``TE`` [s].
    """

    sections = ("sequence", "parameters", "loss", "scan")
    needs = (kind.SCAN, kind.PHANTOM)

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:
        """Check that there are a scan, two tissues and two times."""
        scanned = kind.is_scanned(experiment, setup)
        kind.require(scanned, "ernst_angle", "a scan of the flip angle")
        for name in ("bright", "dark"):
            kind.require(
                loss_setting(experiment.loss, name) is not None,
                "ernst_angle",
                f"a loss whose setting {name} names a tissue, as in "
                "pulseq_zero.optimization.losses:contrast",
            )
        for name in ("TR", "TE"):
            kind.require(
                name not in setup.parameters and setup.argument(name) is not None,
                "ernst_angle",
                f"a sequence function with the constant argument {name}",
            )

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw images, the course of the angle, its scan, and the closed form."""
        name = kind.given(experiment.scan).parameter
        setup = sequence_setup(kind.given(experiment.sequence), experiment.parameters)
        bright, dark = (loss_setting(experiment.loss, tissue) for tissue in ("bright", "dark"))
        x, y = results.start.shape
        phantom, played = kind.given(results.phantom), setup.pulses == "played"
        contrast = ernst_contrast(
            phantom,
            bright,
            dark,
            matrix=(x, y),
            TR=setup.argument("TR"),
            TE=setup.argument("TE"),
            excited=_excited(setup, phantom) if played else None,
        )
        return ernst_angle_figure(
            results.start,
            results.optimized,
            results.history,
            results.parameters[name],
            results.best,
            results.scan.rename(columns={name: "flip_angle"}),
            contrast,
            results.accuracy,
            f"{kind.tissue(bright)} minus {kind.tissue(dark)}",
        )


def _excited(setup: SequenceSetup, phantom: Phantom) -> ExcitedSlice | None:
    """Return what the pulses make of the slice, up to a right angle in all of the phantom."""
    (name,) = setup.taken
    sequence = setup.sequence({name: torch.tensor(1.0)})
    largest = largest_field(phantom) * np.pi / 2
    return ExcitedSlice.of(sequence, 1.0, largest, phantom.slice_thickness)


def ernst_angle_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    flip_angle: Tensor,
    best_iteration: int,
    scan: pd.DataFrame,
    closed_form: pd.DataFrame,
    accuracy: float,
    difference: str,
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
        tissue table alone, ``phantom`` with the phantom's B1, mixed voxels and, where pulses are
        played, the slice profile.
    accuracy
        Accuracy of the simulation that images and scan were made with.
    difference
        Which two tissues the contrast is of.
    """
    degrees = torch.rad2deg(flip_angle).numpy()
    best = degrees[best_iteration]
    best_contrast = -history["loss"][best_iteration]
    formula_deg = np.rad2deg(closed_form["flip_angle"])
    with style():
        figure, (pictures, (course, contrast)) = panels(
            image_row(2),
            chart_row(1.0, 1.5, height=6.0),
            note=f"Images and scan simulated at accuracy {accuracy:g}",
        )
        titles = (f"Start, {degrees[0]:.0f}°", f"Optimized, {best:.1f}°")
        show_pair(pictures, start, optimized, titles, SIGNAL)

        course.plot(history["iteration"], degrees, color=BLUE)
        course.set(title="Flip angle", xlabel="Iteration", ylabel="Flip angle [°]")

        contrast.plot(
            formula_deg, closed_form["tissues"], color=GREY, ls="--", label="formula, tissues alone"
        )
        contrast.plot(
            formula_deg, closed_form["phantom"], color=ORANGE, label="formula, in each voxel"
        )
        contrast.plot(
            np.rad2deg(scan["flip_angle"]), -scan["loss"], ".", ms=4, color=BLACK, label="scan"
        )
        contrast.plot(best, best_contrast, "o", ms=6, mfc="none", color=BLUE, label="optimized")
        contrast.axhline(0, color=BLACK, lw=0.6)
        contrast.set(
            title=difference, xlabel="Flip angle [°]", ylabel=SIGNAL.replace("Signal", "Contrast")
        )
        legend_below(contrast)
        for axes in (course, contrast):
            axes.grid(True)
    return figure

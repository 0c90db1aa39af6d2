"""Images of the simulation beside those of its judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import RED, rows, show_image, style

# Differences are shown up to this part of the brightest pixel.
_RANGE = 0.1
_DIFFERENCES = (
    ("pdg", "bloch", "PDG - same"),
    ("pdg", "bloch_full", "PDG - full"),
    ("pdg_played", "bloch_full", "PDG, played - full"),
)


def validation_figure(
    images: Mapping[str, Mapping[str, Tensor]], numbers: list[dict[str, Any]]
) -> Figure:
    """Draw for each stage the images of PDG and judge, and their differences.

    Parameters
    ----------
    images
        For each stage (x, y) complex images ``pdg``, ``pdg_played``, ``bloch`` and
        ``bloch_full``.
    numbers
        For each stage the row of `pulseq_zero.experiments.validation.judge_results`.
    """
    with style():
        figure = plt.figure(figsize=(11.2, 4.6))
        for row, part in zip(numbers, rows(figure, *(1.0 for _ in numbers)), strict=True):
            of = images[row["stage"]]
            brightest = float(of["bloch"].abs().max())
            axes = part.subplots(1, 6)
            for ax, name, title in zip(
                axes,
                ("pdg", "bloch", "bloch_full"),
                ("PDG", "judge,\nsame physics", "judge,\nfull physics"),
                strict=False,
            ):
                show_image(ax, of[name].abs(), title, colour_bar=False, vmin=0, vmax=brightest)
            for ax, (ours, judge, title) in zip(axes[3:], _DIFFERENCES, strict=True):
                error = (of[ours] - of[judge]).abs() / brightest
                shown = show_image(
                    ax,
                    error,
                    f"{title}:\n{100 * row[f'{ours}_vs_{judge}_nrmse']:.2g} %",
                    colour_bar=False,
                    vmin=0,
                    vmax=_RANGE,
                    cmap="magma",
                )
            part.colorbar(shown, ax=axes, shrink=0.8, label="of the brightest pixel")
            verdict = "" if row["passed"] else ": FAILED"
            part.suptitle(f"{row['stage']}{verdict}", color="black" if row["passed"] else RED)
    return figure

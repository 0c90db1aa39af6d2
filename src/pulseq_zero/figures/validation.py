"""Images of the simulation beside those of its judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import BLACK, RED, image_row, panels, show_image, style

# Differences are shown up to this part of the brightest pixel.
_RANGE = 0.1
_IMAGES = {"pdg": "PDG", "bloch": "Judge,\nsame physics", "bloch_full": "Judge,\nfull physics"}
_DIFFERENCES = {
    ("pdg", "bloch"): "PDG − judge,\nsame physics",
    ("pdg", "bloch_full"): "PDG − judge,\nfull physics",
    ("pdg_played", "bloch_full"): "PDG played −\nfull physics",
}


def validation_figure(
    images_of: Mapping[str, Mapping[str, Tensor]], numbers: list[dict[str, Any]]
) -> Figure:
    """Draw for each stage the images of PDG and judge, and their differences.

    Parameters
    ----------
    images_of
        For each stage (x, y) complex images ``pdg``, ``pdg_played``, ``bloch`` and
        ``bloch_full``.
    numbers
        For each stage the row of `pulseq_zero.experiments.validation.judge_results`.
    """
    with style():
        count = len(_IMAGES) + len(_DIFFERENCES)
        layout = [image_row(count, in_page=6, in_column=3, titles=5) for _ in numbers]
        figure, lines = panels(*layout)
        for row, axes in zip(numbers, lines, strict=True):
            of = images_of[row["stage"]]
            brightest = float(of["bloch"].abs().max())
            for ax, (name, title) in zip(axes, _IMAGES.items(), strict=False):
                show_image(ax, of[name].abs(), title, colour_bar=False, vmin=0, vmax=brightest)
            for ax, ((ours, judge), title) in zip(axes[3:], _DIFFERENCES.items(), strict=True):
                shown = show_image(
                    ax,
                    (of[ours] - of[judge]).abs() / brightest,
                    title,
                    colour_bar=False,
                    vmin=0,
                    vmax=_RANGE,
                    cmap="magma",
                )
                error = 100 * row[f"{ours}_vs_{judge}_nrmse"]
                said = f"NRMSE {error:.2g} %"
                ax.text(0.5, -0.04, said, transform=ax.transAxes, ha="center", va="top")
            # Errors beyond the scale look like its end, which the arrow says
            bar = axes[-1].inset_axes((1.04, 0.0, 0.07, 1.0))
            axes[-1].figure.colorbar(
                shown, cax=bar, label="of the maximum", extend="max", ticks=(0, _RANGE)
            )
            verdict = "" if row["passed"] else ": FAILED"
            colour = BLACK if row["passed"] else RED
            axes[0].figure.suptitle(f"{row['stage'].capitalize()}{verdict}", color=colour)
    return figure

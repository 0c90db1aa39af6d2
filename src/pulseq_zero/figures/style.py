"""The look that all figures share: readable in print, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from torch import Tensor

from pulseq_zero.files.store import atomic_path

# Okabe and Ito, Color Universal Design (2008)
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)

_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=LINES),
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the shared look, without a display, and leave matplotlib as it was."""
    with plt.rc_context(_STYLE), plt.ioff():
        yield


def save_figure(figure: Figure, *paths: Path | str) -> None:
    """Save a figure under each name, in the format of its suffix, and close it."""
    for path in map(Path, paths):
        with atomic_path(path) as temporary:
            # Dates would make files of equal content differ
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    plt.close(figure)


def rows(figure: Figure, *heights: float) -> list[SubFigure]:
    """Divide a figure into rows of these relative heights."""
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    return [figure.add_subfigure(grid[index]) for index in range(len(heights))]


def show_image(
    axes: Axes,
    image: Tensor,
    title: str = "",
    *,
    colour_bar: bool = True,
    **settings: Any,
) -> AxesImage:
    """Show an image (x, y) as radiologists do: front of the head up, no axes."""
    shown = axes.imshow(
        image.detach().cpu().numpy().T,
        origin="lower",
        interpolation="nearest",
        **{"cmap": "gray", **settings},
    )
    axes.set_title(title)
    axes.set_axis_off()
    if colour_bar:
        axes.figure.colorbar(shown, ax=axes, shrink=0.85)
    return shown

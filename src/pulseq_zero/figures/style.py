"""The look that all figures share: readable in print, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation
from torch import Tensor

from pulseq_zero.files.store import atomic_path

# Okabe and Ito, Color Universal Design (2008)
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
# What an image is in: a voxel of water, wholly magnetised and tipped by 90°, is 1
SIGNAL = "Signal [M₀ of water]"

# What figures are as wide as in print [cm]: a page, or one of its two columns
PAGE, COLUMN = 17.8, 8.5
_CM = 1 / 2.54  # inches
_width: ContextVar[float] = ContextVar("width", default=PAGE)

# Sizes are those on paper: a figure is not scaled there
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=LINES),
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.constrained_layout.use": True,
}


# What matters when a figure is saved: letters of a PDF can be edited and searched
_SAVING: Any = {"pdf.fonttype": 42, "savefig.dpi": 250}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the shared look, without a display, and leave matplotlib as it was."""
    with plt.rc_context(_STYLE), plt.ioff():
        yield


@contextmanager
def column() -> Iterator[None]:
    """Draw figures as wide as a column, 8.5 cm, in place of a page, 17.8 cm."""
    token = _width.set(COLUMN)
    try:
        yield
    finally:
        _width.reset(token)


def save_figure(figure: Figure, *paths: Path | str) -> None:
    """Save a figure under each name, in the format of its suffix, and close it."""
    for text in figure.findobj(Text):
        text.set_parse_math(_is_mathtext(text.get_text()))
    for path in map(Path, paths):
        with atomic_path(path) as temporary, plt.rc_context(_SAVING):
            # Dates would make files of equal content differ
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
        # Laid out it is, whatever the format
        figure.set_layout_engine("none")
    plt.close(figure)


def _is_mathtext(text: str) -> bool:
    """Tell whether Matplotlib can set a text as mathematics: a title may mean its $ as such."""
    if "$" not in text:
        return True
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return False
    return True


def save_in_widths(draw: Callable[[], Figure], png: Path, pdf: Path, in_column: Path) -> None:
    """Save a figure as wide as a page, as PNG and PDF, and as wide as a column."""
    save_figure(draw(), png, pdf)
    with column():
        save_figure(draw(), in_column)


@dataclass(frozen=True)
class Row:
    """Panels side by side; in as many lines as they need.

    Attributes
    ----------
    widths
        Relative widths of the panels, left to right.
    height
        Of a line [cm].
    in_page, in_column
        How many panels are in a line of a page, and of a column.
    """

    widths: tuple[float, ...]
    height: float
    in_page: int
    in_column: int

    def lines(self) -> list[tuple[float, ...]]:
        """Relative widths of the panels of each line."""
        count = self.in_page if _width.get() == PAGE else self.in_column
        # A last line that is not full is laid out as if it were
        widths = self.widths + (1.0,) * (-len(self.widths) % min(count, len(self.widths)))
        return [widths[first : first + count] for first in range(0, len(widths), count)]


def image_row(count: int, *, in_page: int = 4, in_column: int = 2, titles: int = 1) -> Row:
    """Lay out images; titles have so many lines of text."""
    in_line = min(count, in_page if _width.get() == PAGE else in_column)
    height = min(5.2, 0.86 * _width.get() / in_line) + 0.35 * titles
    return Row((1.0,) * count, height, in_page, in_column)


def chart_row(*widths: float, height: float = 5.2, in_page: int = 3, in_column: int = 1) -> Row:
    """Lay out diagrams of these relative widths."""
    return Row(widths, height, in_page, in_column)


def panels(*rows: Row, note: str = "") -> tuple[Figure, list[list[Axes]]]:
    """Begin a figure.

    Parameters
    ----------
    rows
        What it is made of, from top to bottom.
    note
        What stands below all.

    Returns
    -------
    tuple
        The figure, and the axes of each row.
    """
    lines = [
        (number, row.height, widths) for number, row in enumerate(rows) for widths in row.lines()
    ]
    heights = [height for _, height, _ in lines]
    total = sum(heights) + 0.5 * bool(note)
    figure = plt.figure(figsize=(_CM * _width.get(), _CM * total))
    grid = figure.add_gridspec(len(lines), 1, height_ratios=heights)
    axes: list[list[Axes]] = [[] for _ in rows]
    for place, (number, _, widths) in enumerate(lines):
        line = figure.add_subfigure(grid[place])
        axes[number] += line.subplots(1, len(widths), squeeze=False, width_ratios=widths)[
            0
        ].tolist()
    for row, made in zip(rows, axes, strict=True):
        for surplus in made[len(row.widths) :]:
            surplus.remove()
        del made[len(row.widths) :]
    figure.supxlabel(note, fontsize=7)
    return figure, axes


def page_size(height: float) -> tuple[tuple[float, float], bool]:
    """Size of a figure of this height [cm] for matplotlib, and whether it is for a page."""
    return (_CM * _width.get(), _CM * height), _width.get() == PAGE


def with_unit(name: str, unit: str | None) -> str:
    """Label an axis."""
    return f"{name} [{unit}]" if unit else name


def legend_below(axes: Axes, columns: int = 2) -> None:
    """Put the legend below the label of the x axis, where no curve is."""
    root = axes.get_figure(root=True)
    assert root is not None
    below = ScaledTranslation(0, -0.95 * _CM, root.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + below,
        ncols=columns,
        borderaxespad=0,
        handlelength=1.6,
        columnspacing=1.2,
    )


def legend_outside(axes: Axes) -> None:
    """Put the legend of a row of diagrams, which is that of the first, below all of them."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 5 if _width.get() == PAGE else 3
    axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def show_image(
    axes: Axes,
    image: Tensor,
    title: str = "",
    *,
    colour_bar: bool = True,
    label: str = "",
    extend: str = "neither",
    **settings: Any,
) -> AxesImage:
    """Show an image (x, y) as radiologists do: front of the head up, no axes.

    Parameters
    ----------
    axes, image, title
        Where, what, and what it is called.
    colour_bar, label, extend
        Whether there is a colour bar, its label, and at which of its ends values are cut off.
    settings
        For matplotlib's ``imshow``.
    """
    shown = axes.imshow(
        image.detach().cpu().numpy().T,
        origin="lower",
        interpolation="nearest",
        **{"cmap": "gray", **settings},
    )
    axes.set_title(title)
    axes.set_axis_off()
    if colour_bar:
        # As high as the image, so that it does not reach the title, which is often wider
        beside = axes.inset_axes((1.05, 0.0, 0.07, 1.0))
        axes.figure.colorbar(shown, cax=beside, label=label, extend=extend)
    return shown


def show_pair(
    axes: Sequence[Axes], start: Tensor, optimized: Tensor, titles: Sequence[str], label: str
) -> None:
    """Show the magnitudes of two images (x, y) with one scale."""
    brightest = float(max(start.abs().max(), optimized.abs().max()))
    for each, image, title in zip(axes, (start, optimized), titles, strict=True):
        show_image(each, image.abs(), title, label=label, vmin=0, vmax=brightest)

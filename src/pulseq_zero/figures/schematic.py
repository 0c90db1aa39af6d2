"""The loop in one picture, made of a run's own pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pulseq_zero.figures.style import BLACK, GREEN, show_image, style, with_unit

_MAPS = {
    "PD": ("", "viridis"),
    "T1": ("s", "viridis"),
    "T2": ("s", "viridis"),
    "T2'": ("s", "viridis"),
    "D": ("µm²/ms", "viridis"),
    "B0": ("Hz", "cividis"),
}
# Letters of the code [pt]
_CODE = 6.0


@dataclass(frozen=True)
class LoopPictures:
    """What the schematic shows.

    Attributes
    ----------
    sequence_code, loss_code
        Excerpts of the sequence function and of the loss function.
    maps
        (x, y) maps of the phantom by their names PD, T1, T2, T2', D and B0.
    signal
        (samples,) complex signal.
    image
        (x, y) complex image of the start.
    target
        (x, y) what the loss compares with.
    parameters
        Names of the parameters.
    """

    sequence_code: str
    loss_code: str
    maps: Mapping[str, Tensor]
    signal: Tensor
    image: Tensor
    target: Tensor
    parameters: str


def schematic_figure(pictures: LoopPictures) -> Figure:
    """Draw parameters, sequence, simulation, loss and gradient descent as one loop.

    It is as wide as a page.
    """
    with style(), plt.rc_context({"figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(7.0, 6.9))
        _box(figure, 0.205, 0.40, 0.375, 0.555, rounded=True)
        title: Any = {"ha": "center", "weight": "bold"}
        figure.text(0.39, 0.967, "pulseq-zero", style="italic", size=11, **title)
        code = _panel(figure, 0.22, 0.445, 0.345, 0.50, "Sequence code")
        _write(figure, code, f"{pictures.parameters}, …\n\n{pictures.sequence_code}")
        loss = _panel(figure, 0.22, 0.055, 0.345, 0.285, "Loss")
        _write(figure, loss, pictures.loss_code)
        target = figure.add_axes((0.41, 0.065, 0.145, 0.145))
        show_image(target, pictures.target, colour_bar=False)
        target.set_title("target", fontsize=7, color="0.92", pad=2)

        figure.text(0.805, 0.967, "Phantom", size=9, **title)
        for index, (name, (unit, colours)) in enumerate(_MAPS.items()):
            row, column = divmod(index, 3)
            axes = figure.add_axes((0.63 + 0.125 * column, 0.825 - 0.15 * row, 0.075, 0.105))
            _picture(axes, pictures.maps[name], with_unit(name, unit), cmap=colours)

        figure.text(0.805, 0.58, "MR-zero\nPDG simulation", size=10, va="center", **title)
        figure.text(0.805, 0.49, "Simulated signal", size=9, **title)
        signal = figure.add_axes((0.69, 0.335, 0.29, 0.135))
        for part, label in ((pictures.signal.real, "real"), (pictures.signal.imag, "imaginary")):
            signal.plot(part.numpy(), lw=0.5, label=label)
        signal.set(xlabel="Sample", ylabel="Voxels of water")
        signal.legend(loc="upper right", handlelength=1.2)
        magnitude = figure.add_axes((0.645, 0.055, 0.12, 0.155))
        _picture(magnitude, pictures.image.abs(), "Magnitude", cmap="gray", vmin=0)
        phase = figure.add_axes((0.82, 0.055, 0.12, 0.155))
        limits = {"vmin": -math.pi, "vmax": math.pi}
        _picture(phase, pictures.image.angle(), "Phase [rad]", cmap="twilight", **limits)

        _box(figure, 0.01, 0.50, 0.13, 0.1, rounded=True)
        figure.text(0.075, 0.55, "Gradient\ndescent", size=9, va="center", **title)
        figure.text(
            0.085, 0.92, "Parameter\nstart values", ha="center", style="italic", color="0.4"
        )
        _arrow(figure, (0.135, 0.90), (0.215, 0.87), color="0.5")
        figure.text(0.60, 0.99, ".seq for\nscanning", va="top", size=8, color=GREEN, **title)
        _arrow(figure, (0.565, 0.90), (0.60, 0.945), color=GREEN)
        _arrow(figure, (0.805, 0.67), (0.805, 0.62))
        _arrow(figure, (0.585, 0.58), (0.675, 0.58))
        _arrow(figure, (0.805, 0.545), (0.805, 0.51))
        _arrow(figure, (0.805, 0.275), (0.805, 0.235))
        _arrow(figure, (0.637, 0.13), (0.575, 0.13))
        _arrow(figure, (0.39, 0.395), (0.39, 0.35))
        _arrow(figure, (0.215, 0.17), (0.075, 0.495), bend=-0.35)
        _arrow(figure, (0.075, 0.605), (0.215, 0.80), bend=-0.35)
    return figure


def _picture(axes: Axes, image: Tensor, title: str, **settings: Any) -> None:
    """Show an image with a slim colour bar."""
    shown = show_image(axes, image, title, colour_bar=False, **settings)
    axes.title.set_fontsize(7)
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.03, 0.0, 0.07, 1.0)))
    bar.ax.tick_params(labelsize=6, length=1.5, pad=1)
    bar.locator = MaxNLocator(3)
    bar.update_ticks()


def _panel(figure: Figure, x: float, y: float, width: float, height: float, title: str) -> Axes:
    axes = figure.add_axes((x, y, width, height), facecolor="0.12")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(title, weight="bold")
    return axes


def _write(figure: Figure, axes: Axes, text: str) -> None:
    # What the panel holds of monospaced lines, whose letters are 0.6 times as wide as high, which
    # is rounded up to pixels
    box = axes.get_window_extent()
    per_point = 72 / figure.dpi
    width = int(box.width * per_point / (0.63 * _CODE)) - 2
    count = int(box.height * per_point / (1.2 * _CODE)) - 1
    lines = [line if len(line) <= width else f"{line[:width]}…" for line in text.splitlines()]
    axes.text(
        *(0.02, 0.985, "\n".join(lines[:count])),
        transform=axes.transAxes,
        va="top",
        family="monospace",
        size=_CODE,
        color="0.92",
    )


def _box(figure: Figure, x: float, y: float, width: float, height: float, rounded: bool) -> None:
    shape = "round,pad=0,rounding_size=0.03" if rounded else "square,pad=0"
    box = FancyBboxPatch((x, y), width, height, boxstyle=shape, fill=False, lw=1.6, ec=BLACK)
    box.set_transform(figure.transFigure)
    figure.add_artist(box)


def _arrow(
    figure: Figure,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str = BLACK,
    bend: float = 0.0,
) -> None:
    figure.add_artist(
        FancyArrowPatch(
            start,
            end,
            transform=figure.transFigure,
            arrowstyle="-|>",
            mutation_scale=13,
            lw=1.8,
            color=color,
            connectionstyle=f"arc3,rad={bend}",
        )
    )

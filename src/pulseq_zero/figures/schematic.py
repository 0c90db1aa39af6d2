"""The loop in one picture, made of a run's own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from pulseq_zero.figures.style import BLACK, GREEN, show_image, style

_MAPS = {
    "PD": "viridis",
    "T1": "viridis",
    "T2": "viridis",
    "T2'": "viridis",
    "D": "viridis",
    "B0": "cividis",
}


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
    """Draw parameters, sequence, simulation, loss and gradient descent as one loop."""
    with style(), plt.rc_context({"figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(7.2, 6.6))
        _box(figure, 0.30, 0.40, 0.32, 0.555, rounded=True)
        figure.text(0.46, 0.967, "pulseq-zero", ha="center", weight="bold", style="italic", size=12)
        code = _panel(figure, 0.32, 0.455, 0.28, 0.48, "Sequence code")
        _write(figure, code, f"{pictures.parameters}, …\n\n{pictures.sequence_code}", 3.7)

        figure.text(0.85, 0.967, "Phantom", ha="center", weight="bold")
        for index, (name, colours) in enumerate(_MAPS.items()):
            row, column = divmod(index, 3)
            axes = figure.add_axes((0.70 + 0.098 * column, 0.825 - 0.135 * row, 0.092, 0.11))
            show_image(axes, pictures.maps[name], name, colour_bar=False, cmap=colours)
            axes.title.set_fontsize(7)

        figure.text(
            0.84, 0.545, "MR-zero\nPDG simulation", ha="center", va="center", size=12, weight="bold"
        )

        figure.text(0.84, 0.425, "Simulated signal", ha="center", weight="bold")
        signal = figure.add_axes((0.72, 0.29, 0.26, 0.115))
        signal.plot(pictures.signal.real.numpy(), lw=0.4)
        signal.plot(pictures.signal.imag.numpy(), lw=0.4)
        signal.tick_params(labelsize=6)
        magnitude = figure.add_axes((0.71, 0.06, 0.13, 0.17))
        show_image(magnitude, pictures.image.abs(), "Magnitude", colour_bar=False)
        phase = figure.add_axes((0.85, 0.06, 0.13, 0.17))
        show_image(phase, pictures.image.angle(), "Phase", colour_bar=False, cmap="twilight")
        for axes in (magnitude, phase):
            axes.title.set_fontsize(7)

        loss = _panel(figure, 0.32, 0.055, 0.28, 0.27, "Loss")
        _write(figure, loss, pictures.loss_code, 3.3)
        target = figure.add_axes((0.37, 0.062, 0.18, 0.15))
        show_image(target, pictures.target, colour_bar=False)
        target.set_title("target", fontsize=7, color="0.92", pad=2)

        _box(figure, 0.02, 0.53, 0.2, 0.1, rounded=True)
        figure.text(0.12, 0.58, "Gradient descent", ha="center", va="center", weight="bold")
        figure.text(0.13, 0.93, "Parameter\nstart values", ha="center", style="italic", color="0.4")
        _arrow(figure, (0.20, 0.91), (0.315, 0.87), color="0.5")
        _arrow(figure, (0.60, 0.87), (0.645, 0.935), color=GREEN)
        scan = figure.text(0.66, 0.99, ".seq for\nscanning", ha="center", va="top", size=7)
        scan.set(color=GREEN, weight="bold")
        _arrow(figure, (0.84, 0.68), (0.84, 0.595))
        _arrow(figure, (0.625, 0.55), (0.73, 0.55))
        _arrow(figure, (0.84, 0.50), (0.84, 0.445))
        _arrow(figure, (0.70, 0.20), (0.61, 0.20))
        _arrow(figure, (0.46, 0.395), (0.46, 0.35))
        _arrow(figure, (0.315, 0.19), (0.12, 0.525), bend=-0.35)
        _arrow(figure, (0.12, 0.635), (0.315, 0.80), bend=-0.35)
    return figure


def _panel(figure: Figure, x: float, y: float, width: float, height: float, title: str) -> Axes:
    axes = figure.add_axes((x, y, width, height), facecolor="0.12")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(title, weight="bold")
    return axes


def _write(figure: Figure, axes: Axes, text: str, size: float) -> None:
    # What the panel holds of a monospaced line, whose letters are 0.6 times as wide as high
    width = int(axes.get_window_extent().width / figure.dpi * 72 / (0.6 * size)) - 2
    lines = [line if len(line) <= width else f"{line[:width]}…" for line in text.splitlines()]
    axes.text(
        *(0.02, 0.985, "\n".join(lines)),
        transform=axes.transAxes,
        va="top",
        family="monospace",
        size=size,
        color="0.92",
        clip_on=True,
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
            mutation_scale=16,
            lw=2.2,
            color=color,
            connectionstyle=f"arc3,rad={bend}",
        )
    )

"""Figures of what was simulated: the signal, and the image made of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import SIGNAL, chart_row, image_row, panels, show_image, style


def signal_figure(signal: Tensor) -> Figure:
    """Draw the magnitude of a signal, a line for each coil.

    Parameters
    ----------
    signal
        (samples, coils) complex signal.
    """
    with style():
        figure, ((axes,),) = panels(chart_row(1.0, height=4.6))
        _draw_signal(axes, signal)
    return figure


def acquisition_figure(image: Tensor, signal: Tensor) -> Figure:
    """Draw magnitude and phase of an image beside the signal that it was made of.

    Parameters
    ----------
    image
        (x, y) complex image, or (x, y, z), of which the middle slice is drawn.
    signal
        (samples, coils) complex signal.
    """
    if image.ndim == 3:
        image = image[..., image.shape[2] // 2]
    image = image.detach()
    with style():
        figure, ((magnitude, phase), (course,)) = panels(image_row(2), chart_row(1.0, height=4.2))
        show_image(magnitude, image.abs(), "Magnitude", label=SIGNAL, vmin=0)
        show_image(
            phase,
            image.angle(),
            "Phase",
            label="Phase [rad]",
            cmap="twilight",
            vmin=-np.pi,
            vmax=np.pi,
        )
        _draw_signal(course, signal)
    return figure


def _draw_signal(axes: Axes, signal: Tensor) -> None:
    axes.plot(signal.detach().abs().cpu().numpy(), lw=0.5)
    axes.set(title="Signal", xlabel="Sample", ylabel="Magnitude [voxels of water]", ylim=(0, None))
    axes.grid(True)

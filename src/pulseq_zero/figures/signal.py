"""Figures of what was simulated: the signal, and the image made of it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import show_image, style


def signal_figure(signal: Tensor) -> Figure:
    """Draw the magnitude of a signal, a line for each coil.

    Parameters
    ----------
    signal
        (samples, coils) complex signal.
    """
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 2.2))
        _draw_signal(axes, signal)
    return figure


def acquisition_figure(image: Tensor, signal: Tensor) -> Figure:
    """Draw magnitude and phase of an image beside the signal that it was made of.

    Parameters
    ----------
    image
        (x, y) complex image.
    signal
        (samples, coils) complex signal.
    """
    with style():
        figure, (magnitude, phase, course) = plt.subplots(1, 3, figsize=(9.6, 2.8))
        show_image(magnitude, image.abs(), "Magnitude", vmin=0)
        show_image(phase, image.angle(), "Phase [rad]", cmap="twilight", vmin=-np.pi, vmax=np.pi)
        _draw_signal(course, signal)
    return figure


def _draw_signal(axes: Axes, signal: Tensor) -> None:
    axes.plot(signal.detach().abs().cpu().numpy(), lw=0.6)
    axes.set(title="Signal", xlabel="Sample", ylabel="Magnitude [a.u.]", ylim=(0, None))
    axes.grid(True)

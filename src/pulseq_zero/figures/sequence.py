"""Figures of a sequence: its pulse diagram and the order in which it fills k-space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, style

if TYPE_CHECKING:
    import pypulseq

# Hz/m in a mT/m, and Hz in a µT, of protons (CODATA 2018: 42.577 478 518 MHz/T)
_HZ_PER_M = 42577.478518
_HZ_PER_UT = 42.577478518


def pulse_diagram(sequence: pypulseq.Sequence, title: str) -> Figure:
    """Draw RF, gradients and ADC: of the whole sequence, and around its first readouts.

    Parameters
    ----------
    sequence
        The sequence.
    title
        Title of the figure.
    """
    waveforms, _, _, sample_times, _ = sequence.waveforms_and_times(append_RF=True)
    total = float(sequence.duration()[0])
    rf_times = np.real(waveforms[3][0])
    first_sample = float(sample_times[0]) if len(sample_times) else total
    before = rf_times[rf_times < first_sample]
    # The zoom begins with the excitation of the first readout and shows a few readouts
    gaps = np.flatnonzero(np.diff(before) > 20e-3)
    begin = before[gaps[-1] + 1] if len(gaps) else (before[0] if len(before) else 0.0)
    windows = [(0.0, total), (begin - 0.5e-3, min(total, begin + 30e-3))]
    with style():
        figure, rows = plt.subplots(
            5, 2, figsize=(7.2, 5.0), sharex="col", gridspec_kw={"width_ratios": [1, 2]}
        )
        for column, (start, stop) in enumerate(windows):
            axes = rows[:, column]
            _draw_channel(axes[0], rf_times, np.abs(waveforms[3][1]) / _HZ_PER_UT, BLACK)
            for index, colour in enumerate((BLUE, ORANGE, GREEN)):
                times, values = np.real(waveforms[index])
                _draw_channel(axes[1 + index], times, values / _HZ_PER_M, colour)
            axes[4].eventplot(np.asarray(sample_times) * 1e3, colors=PURPLE, lw=0.4)
            axes[4].set(yticks=[], xlabel="Time [ms]", xlim=(start * 1e3, stop * 1e3))
        labels = ("|B1| [µT]", "Gx [mT/m]", "Gy [mT/m]", "Gz [mT/m]", "ADC")
        for axes, label in zip(rows[:, 0], labels, strict=True):
            axes.set_ylabel(label)
        rows[0, 0].set_title("Whole sequence")
        rows[0, 1].set_title("First readouts")
        figure.suptitle(title)
        figure.align_ylabels()
    return figure


def _draw_channel(axes: Axes, times: np.ndarray, values: np.ndarray, colour: str) -> None:
    axes.plot(np.asarray(times) * 1e3, values, color=colour, lw=0.8)
    axes.axhline(0, color=BLACK, lw=0.4)


def kspace_figure(repetitions: Repetitions, title: str) -> Figure:
    """Draw the k-space samples, coloured by the time since the excitation.

    Parameters
    ----------
    repetitions
        The sequence.
    title
        Title of the figure.
    """
    detached = repetitions.detach()
    kspace = detached.kspace()[:, :2].numpy()
    end_of_event = detached.event_time.double().cumsum(0)
    starts = (
        end_of_event[list(detached.first_event)] - detached.event_time[list(detached.first_event)]
    )
    since = np.zeros(len(starts))
    last = 0.0
    for index, use in enumerate(detached.pulse_use):
        last = float(starts[index]) if use in ("excitation", "undefined") else last
        since[index] = last
    times = end_of_event.numpy() - since[detached.repetition_of_event.numpy()]
    times = times[detached.is_sample.numpy()]
    with style():
        figure, (plane, course) = plt.subplots(1, 2, figsize=(7.2, 3.2))
        points = plane.scatter(*kspace.T, c=times * 1e3, s=2, cmap="cividis", rasterized=True)
        figure.colorbar(points, ax=plane, label="Time since excitation [ms]")
        # A line of k-space has no width that a box could keep
        plane.set_aspect("equal", adjustable="datalim")
        plane.set(xlabel="kx [1/m]", ylabel="ky [1/m]", title="Samples")
        course.plot(times * 1e3, kspace[:, 1], ".", color=BLUE, ms=1.5, rasterized=True)
        course.axhline(0, color=RED, lw=0.8, ls=":")
        course.set(
            xlabel="Time since excitation [ms]", ylabel="ky [1/m]", title="Phase encoding order"
        )
        course.grid(True)
        figure.suptitle(title)
    return figure

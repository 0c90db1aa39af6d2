"""Figures of a sequence: its pulse diagram and the order in which it fills k-space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulseq_zero.conversion.pulses import sample_durations
from pulseq_zero.conversion.repetitions import Repetitions, known_use
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    chart_row,
    page_size,
    panels,
    style,
)

if TYPE_CHECKING:
    import pypulseq

# Hz/m in a mT/m, and Hz in a µT, of protons (CODATA 2018: 42.577 478 518 MHz/T)
_HZ_PER_M = 42577.478518
_HZ_PER_UT = 42.577478518
# The zoom goes on to further readouts while these lie within so many times of the first one's end.
_FURTHER = 3.0
# Samples of a pulse lie in the same place of the drawing within this part of its time, and so many
# radians.
_A_DOT = np.array([1e-3, 0.02])
# Positions along the third axis that differ by less than this are those of one plane [1/m].
_ONE_PLANE = 1.0


def pulse_diagram(sequence: pypulseq.Sequence, title: str) -> Figure:
    """Draw RF, gradients and ADC: of the whole sequence, and from an excitation to its readouts.

    Parameters
    ----------
    sequence
        The sequence.
    title
        Title of the figure.
    """
    return pulse_diagrams({"": sequence}, title)


def pulse_diagrams(sequences: Mapping[str, pypulseq.Sequence], title: str) -> Figure:
    """Draw a `pulse_diagram` of each of several sequences by their names, one below the other."""
    with style():
        (width, height), beside = page_size(11.0)
        rows = len(sequences) if beside else 2 * len(sequences)
        figure = plt.figure(figsize=(width, height * rows))
        figure.suptitle(title)
        layout: Any = {"ncols": 2, "width_ratios": (1, 1.6)} if beside else {}
        parts = np.reshape(np.array(figure.subfigures(nrows=rows, **layout)), (-1, 2))
        for (whole, detail), (name, sequence) in zip(parts, sequences.items(), strict=True):
            waveforms, _, _, times, _ = sequence.waveforms_and_times(append_RF=True)
            samples = np.asarray(times)
            total = float(sequence.duration()[0])
            window = _first_readouts(sequence, samples)
            readouts = _readouts(sequence, samples)
            of_it = name and f"{name}: "
            _draw(whole, f"{of_it}Whole sequence", waveforms, readouts, (0.0, total))
            _draw(detail, f"{of_it}From excitation to readout", waveforms, readouts, window)
    return figure


def _readouts(sequence: pypulseq.Sequence, samples: np.ndarray) -> list[tuple[float, float]]:
    """Find the first sample of each ADC event, and how long it is to its last [s]."""
    edges = np.cumsum(list(sequence.block_durations.values()))
    first = np.flatnonzero(np.diff(np.searchsorted(edges, samples), prepend=-1))
    last = np.append(first[1:], len(samples)) - 1
    return list(zip(samples[first], samples[last] - samples[first], strict=True))


def _excitations(sequence: pypulseq.Sequence) -> np.ndarray:
    """Find the blocks whose pulse excites, by their place in the sequence."""
    excites: dict[int, bool] = {}
    found = []
    for place, (number, events) in enumerate(sequence.block_events.items()):
        pulse = int(events[1])
        if pulse and pulse not in excites:
            rf = sequence.get_block(number).rf
            turns = abs(np.sum(rf.signal * sample_durations(rf)))
            excites[pulse] = known_use(rf.use, 360 * turns) == "excitation"
        if pulse and excites[pulse]:
            found.append(place)
    return np.array(found, dtype=int)


def _first_readouts(sequence: pypulseq.Sequence, samples: np.ndarray) -> tuple[float, float]:
    """Find the block of the excitation that is read out first, and the end of its readouts [s]."""
    edges = np.cumsum([0.0, *sequence.block_durations.values()])
    if not len(samples):
        return 0.0, float(edges[-1])
    excitations = _excitations(sequence)
    before = excitations[edges[excitations] < samples[0]]
    begin = edges[before[-1]] if len(before) else 0.0
    # An ADC is over at the end of its block
    ends = edges[np.unique(np.searchsorted(edges, samples))]
    within = ends[ends - begin <= _FURTHER * (ends[0] - begin)]
    return float(begin), float(within[-1])


def _draw(
    figure: Figure,
    title: str,
    waveforms: Sequence[np.ndarray],
    readouts: Sequence[tuple[float, float]],
    window: tuple[float, float],
) -> None:
    """Draw what is played from one time to another [s], a channel below the other."""
    begin, end = window
    unit, scale = ("s", 1.0) if end - begin > 1 else ("ms", 1e3)
    label = f"Time after {begin:.4g} s [{unit}]" if begin else f"Time [{unit}]"
    axes = figure.subplots(6, 1, sharex=True, height_ratios=(1, 1, 1, 1, 1, 0.4))
    # Arrays of complex numbers: times, and the field
    times, field = np.real(waveforms[3][0]), waveforms[3][1]
    _draw_channel(axes[0], scale * (times - begin), np.abs(field) / _HZ_PER_UT, "|B₁| [µT]", BLACK)
    played = (begin <= times) & (times <= end)
    played &= np.abs(field) > 1e-3 * np.abs(field).max(initial=0)
    points = np.column_stack([times[played] - begin, np.angle(field[played])])
    # A dot for all that lie in the same place: there may be a hundred thousand
    _, seen = np.unique((points / _A_DOT / (end - begin, 1)).round(), axis=0, return_index=True)
    axes[1].plot(scale * points[seen, 0], points[seen, 1], ".", color=RED, ms=1)
    axes[1].set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    axes[1].set(ylabel="RF phase", ylim=(-1.15 * np.pi, 1.15 * np.pi))
    for index, (name, colour) in enumerate((("x", BLUE), ("y", ORANGE), ("z", GREEN))):
        times, values = np.real(waveforms[index])
        channel = f"$G_{name}$ [mT/m]"
        _draw_channel(axes[2 + index], scale * (times - begin), values / _HZ_PER_M, channel, colour)
    spans = [(scale * (first - begin), scale * length) for first, length in readouts]
    # With an edge, for one sample is no wider than that
    axes[5].broken_barh(spans, (0.5, 1.0), color=PURPLE, lw=0.4)
    axes[5].set(yticks=[], ylabel="ADC", xlabel=label, xlim=(0, scale * (end - begin)))
    axes[0].set_title(title)
    figure.align_ylabels(axes)


def _draw_channel(
    axes: Axes, times: np.ndarray, values: np.ndarray, label: str, colour: str
) -> None:
    axes.plot(times, values, color=colour, lw=0.8)
    axes.axhline(0, color=BLACK, lw=0.4)
    axes.set_ylabel(label)


def kspace_figure(repetitions: Repetitions, title: str) -> Figure:
    """Draw where in k-space the samples lie, and in which order they are taken.

    Parameters
    ----------
    repetitions
        The sequence.
    title
        Title of the figure.
    """
    return kspace_figures({"": repetitions}, title)


def kspace_figures(repetitions: Mapping[str, Repetitions], title: str) -> Figure:
    """Draw a `kspace_figure` of each of several sequences by their names, one below the other."""
    detached = [each.detach() for each in repetitions.values()]
    places = [each.kspace()[:, :3].numpy() for each in detached]
    rows = [
        chart_row(1.15, 1.0, *(1.0,) * bool(np.ptp(kspace[:, 2]) > _ONE_PLANE), height=5.8)
        if len(kspace)
        else chart_row(1.15, 1.0, height=5.8)
        for kspace in places
    ]
    with style():
        figure, axes = panels(*rows)
        for name, each, kspace, row in zip(repetitions, detached, places, axes, strict=True):
            _draw_kspace(row, name and f"{name}: ", kspace, 1e3 * _times_since_excitation(each))
        figure.suptitle(title)
    return figure


def _draw_kspace(row: Sequence[Axes], of_it: str, kspace: np.ndarray, since: np.ndarray) -> None:
    """Draw (samples, 3) places in k-space, and the time since the excitation [ms]."""
    plane, *courses = row
    order = np.arange(1, len(kspace) + 1)
    look: Any = {"c": since, "s": 1.5, "lw": 0, "cmap": "cividis", "rasterized": True}
    points = plane.scatter(*kspace[:, :2].T, **look)
    # A line of k-space has no width that a box could keep
    plane.set_aspect("equal", adjustable="datalim")
    plane.set(xlabel="$k_x$ [1/m]", ylabel="$k_y$ [1/m]", title=f"{of_it}Samples")
    for axes, axis in zip(courses, (1, 2), strict=False):
        axes.scatter(order, kspace[:, axis], **look)
        axes.axhline(0, color=RED, lw=0.8, ls=":")
        name = "xyz"[axis]
        axes.set(xlabel="Number of sample", ylabel=f"$k_{name}$ [1/m]")
        axes.set_title(f"Order along {name}")
        axes.grid(True)
    plane.figure.colorbar(points, ax=plane, label="Time since excitation [ms]")


def _times_since_excitation(repetitions: Repetitions) -> np.ndarray:
    """Return the time (samples,) from the last excitation to each sample [s]."""
    end_of_event = repetitions.event_time.double().cumsum(0)
    first = list(repetitions.first_event)
    starts = end_of_event[first] - repetitions.event_time[first]
    since = np.zeros(len(starts))
    last = 0.0
    for index, use in enumerate(repetitions.pulse_use):
        last = float(starts[index]) if use in ("excitation", "undefined") else last
        since[index] = last
    times = end_of_event.numpy() - since[repetitions.repetition_of_event.numpy()]
    return times[repetitions.is_sample.numpy()]

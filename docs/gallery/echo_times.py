"""Echo times for T2*: as precise as the Cramer-Rao bound lets it be, with B0 unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from shared import judged, save_example
from torch import Tensor

import pulseq_zero
from pulseq_zero.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_image,
    style,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.noise import noisy_acquisitions

multi_echo_gre = load_function("sequences/multi_echo_gre.py:multi_echo_gre")
Precision = load_function("losses/t2star_precision.py:Precision")
voxels = load_function("losses/t2star_precision.py:voxels")

ECHOES = 6
# White and grey matter of phantoms/brain_3T.yaml [s]
TISSUES = {"T1": [0.83, 1.56], "T2": [0.075, 0.083], "T2dash": [0.18, 0.32]}
SNR = 60.0
"""Of white matter in the first echo: magnitude over the standard deviation of the real part."""


def one_line() -> pulseq_zero.SequenceModel:
    """Make the repetitions of a single line: that of all lines is the same, but for a factor."""
    return pulseq_zero.SequenceModel(multi_echo_gre, arguments={"n_phase": 1})


def equal(wait: float) -> Tensor:
    """Return equal waits [s]: the first echo as early as can be, all others as far apart."""
    return torch.tensor([0.0] + [wait] * (ECHOES - 1), dtype=torch.float64)


def best_equal(precision: Any, longest: float = 0.02, count: int = 41) -> Tensor:
    """Find the equal waits with the least mean deviation of T2* by brute force."""
    model, waits = one_line(), np.linspace(0, longest, count)
    with torch.no_grad():
        found = [float(precision(model({"waits": equal(wait)}))[0].mean()) for wait in waits]
    return equal(waits[int(np.argmin(found))])


def optimized(precision: Any, start: Tensor, iterations: int) -> Tensor:
    """Optimize the wait before each echo, from these (echoes,) [s]."""

    def deviation_of_t2star(acquisition: pulseq_zero.Acquisition) -> Tensor:
        return precision(acquisition.repetitions)[0].mean()

    return pulseq_zero.optimize(
        multi_echo_gre,
        deviation_of_t2star,
        {"waits": pulseq_zero.Parameter(start, lower=0.0, upper=0.1, learning_rate=1.5e-3)},
        precision.data,
        arguments={"n_phase": 1},
        iterations=iterations,
        verify_every=20,
        progress=False,
    ).best["waits"]


def two_times(T2star: float, first: float) -> tuple[float, float, float]:
    r"""Return what the best echo times would be, if they could coincide.

    With amplitude and rate R unknown, two times are the best: with the share w of the samples at
    the earliest and 1 - w a time x / R later, the variance of R T2* goes with

    .. math:: \frac{1}{x^2} \left( \frac{1}{w} + \frac{e^{2 x}}{1 - w} \right) ,

    lowest where :math:`w = 1 / (1 + e^x)` and :math:`x = 1 + e^{-x}`.

    Returns
    -------
    tuple
        w, the second time [s], and the relative deviation of T2* for a sample in each echo, of
        signal 1 at the excitation and noise 1.
    """
    x = 1.0
    for _ in range(100):
        x = 1 + math.exp(-x)
    deviation = (1 + math.exp(x)) / x / math.sqrt(ECHOES) * math.exp(first / T2star)
    return 1 / (1 + math.exp(x)), first + x * T2star, deviation


def fitted(images: Tensor, times: Tensor) -> Tensor:
    """Fit T2* [s] to magnitudes (echoes, ...) by least squares: Gauss-Newton from a line's."""
    signal = images.abs().double()
    times = times.view(-1, *[1] * (signal.ndim - 1))
    # The slope of the logarithm, whose noise goes with one over the signal
    weight = signal.square()
    mean = (weight * times).sum(0) / weight.sum(0)
    spread = (weight * (times - mean).square()).sum(0)
    rate = -(weight * (times - mean) * signal.clamp_min(1e-12).log()).sum(0) / spread
    for _ in range(5):
        decay = torch.exp(-rate * times)
        amplitude = (signal * decay).sum(0) / decay.square().sum(0)
        slope = -times * decay
        # What of the slope by the rate the amplitude cannot make up for
        slope = slope - decay * (slope * decay).sum(0) / decay.square().sum(0)
        rest = signal - amplitude * decay
        rate = rate + (rest * slope).sum(0) / (amplitude * slope.square().sum(0))
    return 1 / rate


def imaged(waits: Tensor, phantom: pulseq_zero.Phantom) -> pulseq_zero.Acquisition:
    """Image a phantom with these (echoes,) waits [s]."""
    model = pulseq_zero.ImagingModel(multi_echo_gre, phantom, accuracy=1e-4)
    with torch.no_grad():
        return model({"waits": waits})


def times_of(waits: Tensor) -> Tensor:
    """Return the (echoes,) echo times [s]."""
    return torch.tensor(multi_echo_gre(waits=waits.numpy()).definitions["TE"])


def in_images(waits: Tensor, phantom: pulseq_zero.Phantom, noise: float) -> dict[str, Any]:
    """Fit T2* of a phantom with noise and without, and under the judge.

    Parameters
    ----------
    waits
        (echoes,) [s].
    phantom
        The phantom.
    noise
        Standard deviation of the real and of the imaginary part of a sample.

    Returns
    -------
    dict
        ``map`` (x, y) T2* [s] of one noisy acquisition; of the pixels in white matter ``T2star``,
        the median without noise [s], ``judged``, the same under the judge, ``deviation``, the
        median relative standard deviation over noisy acquisitions, and ``bound``, that of the
        Cramer-Rao bound of the magnitudes.
    """
    acquisition, times = imaged(waits, phantom), times_of(waits)
    inside = phantom.mask("wm", matrix=acquisition.images.shape[1:])
    clean = fitted(acquisition.images, times)
    noisy = torch.stack(
        [
            fitted(each.images, times)
            for each in noisy_acquisitions(acquisition, noise, count=100, seed=0)
        ]
    )
    signal = judged(multi_echo_gre(waits=waits.numpy()), phantom)
    by_judge = fitted(acquisition.with_signal(signal).images, times)
    gain = acquisition.reconstructions[1][0].noise_gain
    bound = noise * gain * rate_deviation(acquisition.images.abs()[0], clean, times) * clean
    return {
        "map": noisy[0],
        "T2star": float(clean[inside].median()),
        "judged": float(by_judge[inside].median()),
        "deviation": float((noisy.std(0) / clean)[inside].median()),
        "bound": float(bound[inside].median()),
    }


def rate_deviation(first: Tensor, T2star: Tensor, times: Tensor) -> Tensor:
    """Cramer-Rao bound of 1 / T2* [1/s], of noise 1 and the signal in the first echo."""
    decay = torch.exp(-(times.view(-1, 1, 1) - times[0]) / T2star)
    slope = -times.view(-1, 1, 1) * decay
    slope = slope - decay * (slope * decay).sum(0) / decay.square().sum(0)
    return 1 / (first * slope.square().sum(0).sqrt())


def make(iterations: int = 150) -> tuple[Figure, dict[str, Any]]:
    """Optimize, compare, and draw."""
    precision = Precision(voxels(**TISSUES))
    best = best_equal(precision)
    trains = {
        "shortest": equal(0.0),
        "best equidistant": best,
        "optimized": optimized(precision, best, iterations),
    }
    phantom = pulseq_zero.build_phantom({"source": "icbm152", "matrix": 32})
    first = imaged(trains["shortest"], phantom)
    inside = phantom.mask("wm", matrix=(32, 32))
    gain = first.reconstructions[1][0].noise_gain
    noise = float(first.images[0].abs()[inside].mean()) / SNR / gain
    model, numbers, found = one_line(), {}, {}
    for name, waits in trains.items():
        with torch.no_grad():
            T2star, B0 = precision(model({"waits": waits}))
        found[name] = in_images(waits, phantom, noise)
        numbers[name] = {
            "echo_times": times_of(waits),
            "T2star_deviation": T2star,
            "B0_deviation": B0,
            **{key: value for key, value in found[name].items() if key != "map"},
        }
    share, second, _ = closed = two_times(float(precision.apparent.mean()), first=3.4e-3)
    numbers["two times"] = {"share_of_first": share, "second_time": second}
    head = phantom.maps()["PD"] > 0
    maps = {name: torch.where(head, each["map"], 0.0) for name, each in found.items()}
    return draw(trains, maps, closed), numbers


def draw(trains: Mapping[str, Tensor], maps: Mapping[str, Tensor], closed: Any) -> Figure:
    """Draw echo times, precision over T2*, and maps with noise."""
    colours = dict(zip(trains, (GREY, ORANGE, BLUE), strict=True))
    over = torch.linspace(0.015, 0.12, 22)
    others = Precision(voxels([1.0] * 22, [1.0] * 22, (1 / (1 / over - 1)).tolist()))
    with style():
        figure, ((times, precision), pictures) = panels(
            chart_row(1.0, 1.0, height=6.0), image_row(3)
        )
        for place, (name, waits) in enumerate(trains.items()):
            at = 1e3 * times_of(waits)
            times.plot(at, np.full(ECHOES, place), "|", ms=14, mew=2, color=colours[name])
            with torch.no_grad():
                deviation, _ = others(one_line()({"waits": waits}))
            precision.plot(1e3 * over, deviation, color=colours[name], label=name)
        _, second, _ = closed
        times.axvline(1e3 * second, color="black", ls=":", lw=1)
        times.set(title="Echo times", xlabel="Time [ms]", ylim=(2.7, -0.7), xlim=(0, None))
        times.set_yticks(range(len(trains)), list(trains))
        precision.set(
            title="Standard deviation of T2*, relative", xlabel="T2* [ms]", ylabel="Noise = 1"
        )
        precision.set_ylim(0, 3)
        precision.grid(True)
        legend_below(precision, columns=3)
        for axes, (name, shown) in zip(pictures, maps.items(), strict=True):
            show_image(axes, 1e3 * shown, f"{name} [ms]", vmin=0, vmax=100, cmap="viridis")
    return figure


if __name__ == "__main__":
    save_example("echo_times", make)

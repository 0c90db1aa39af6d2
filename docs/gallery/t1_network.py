"""T1 of three inversion times: times and a network that learn together, beside a fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
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
from pulseq_zero.phantom import Phantom, TissuePool

epi_ir = load_function("sequences/epi_ir.py:epi_ir")

PIXELS, FOV = 32, 0.224
ARGUMENTS = {"n_read": PIXELS, "n_phase": PIXELS}
SHORTEST, LONGEST = 0.5, 3.0
"""T1 that is to be told [s]."""
TIMES = {"first": 0.3, "second": 1.0, "third": 3.0}
"""Inversion times to begin with, and to compare with [s]."""
SNR = 40.0
"""Of relaxed magnetisation: magnitude over the deviation of a pixel's real part."""


def sequences() -> dict[str, Any]:
    """Return an inversion recovery for each inversion time, by the name of its parameter."""
    return {
        "first": lambda first: epi_ir(TI=first, **ARGUMENTS),
        "second": lambda second: epi_ir(TI=second, **ARGUMENTS),
        "third": lambda third: epi_ir(TI=third, **ARGUMENTS),
    }


def blocks(seed: int) -> tuple[Phantom, Tensor]:
    """Return a phantom of 64 blocks of random T1, and the (x, y) T1 of its pixels [s]."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.rand(8, 8, generator=random)
    T1 = SHORTEST * (LONGEST / SHORTEST) ** drawn
    T1 = T1.repeat_interleave(4, 0).repeat_interleave(4, 1)
    pool = TissuePool.of(torch.ones_like(T1), T1, 0.08)
    return Phantom({"blocks": pool}, {}, (FOV, FOV), 5e-3), T1


def inner(T1: Tensor) -> Tensor:
    """Return the pixels that lie within a block, apart from its neighbours: (x, y) bool."""
    one = torch.arange(PIXELS) % 4
    inside = (one > 0) & (one < 3)
    return inside[:, None] & inside[None, :]


def contrasts(acquired: Mapping[str, pulseq_zero.Acquisition]) -> Tensor:
    """Return the images by inversion time (3, x, y) as real numbers, relative to their norm.

    The sign is that of the phase relative to the last image, whose signal has recovered.
    """
    images = torch.stack([acquired[name].image for name in TIMES])
    real = (images * torch.polar(torch.ones(()), -images[-1].angle())).real
    return real / torch.linalg.vector_norm(real, dim=0).clamp_min(1e-9)


class Network(torch.nn.Module):
    """From three contrasts to T1, within the range of what is to be told."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 24), torch.nn.Tanh(),
            torch.nn.Linear(24, 24), torch.nn.Tanh(),
            torch.nn.Linear(24, 1),
        )  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        """Return (x, y) T1 [s] of (3, x, y) contrasts."""
        middle = math.sqrt(SHORTEST * LONGEST)
        return middle * torch.exp(self.layers(values.movedim(0, -1))[..., 0])


class Fit:
    r"""Fit :math:`M (1 - 2 e^{-TI / T_1})` to the contrasts: the best of many T1.

    For each T1, the amplitude M that fits best follows, so that the largest inner product with a
    curve of norm one is the least squares solution.
    """

    def __init__(self, times: Sequence[float]) -> None:
        self._T1 = torch.exp(torch.linspace(math.log(0.1), math.log(8.0), 2001))
        curves = 1 - 2 * torch.exp(-torch.tensor(list(times))[:, None] / self._T1)
        self._curves = curves / torch.linalg.vector_norm(curves, dim=0)

    def __call__(self, values: Tensor) -> Tensor:
        """Return (x, y) T1 [s] of (3, x, y) contrasts."""
        return self._T1[torch.einsum("txy,tn->xyn", values, self._curves).argmax(-1)]


def bound(times: Any, T1: Any) -> Any:
    r"""Cramer-Rao bound of T1, relative to it, of amplitude 1 and noise 1.

    With s the curve :math:`1 - 2 e^{-TI / T_1}` and d its slope by ln T1, the variance is
    :math:`s^2 / (s^2 d^2 - (s d)^2)` of sums over the inversion times.

    Parameters
    ----------
    times
        (times,) [s].
    T1
        (values,) [s].
    """
    times = np.asarray(times)[:, None]
    decay = np.exp(-times / T1)
    curve, slope = 1 - 2 * decay, -2 * decay * times / T1
    ss, sd, dd = (curve**2).sum(0), (curve * slope).sum(0), (slope**2).sum(0)
    return np.sqrt(ss / (ss * dd - sd**2))


def best_times() -> tuple[float, ...]:
    """Find the inversion times [s] with the least mean square of the bound, by brute force."""
    T1 = np.exp(np.linspace(math.log(SHORTEST), math.log(LONGEST), 25))
    grid = np.concatenate([np.arange(0.05, 2, 0.05), np.arange(2, 6.1, 0.25)])
    choices = itertools.combinations(grid, 3)
    return min(choices, key=lambda times: float((bound(times, T1) ** 2).mean()))


def learn(iterations: int) -> tuple[pulseq_zero.OptimizationResult, Network]:
    """Optimize inversion times and network together, on other blocks in other noise each time."""
    torch.manual_seed(0)
    network = Network()
    inside = inner(torch.empty(0))
    truths = {}

    def phantom(iteration: int) -> Phantom:
        made, truths[iteration % 8] = blocks(iteration % 8)
        return made

    def error(acquisition: Mapping[str, pulseq_zero.Acquisition], iteration: int) -> Tensor:
        T1 = network(contrasts(acquisition))
        return (T1 / truths[iteration % 8] - 1)[inside].square().mean()

    result = pulseq_zero.optimize(
        sequences(),
        error,
        {
            name: pulseq_zero.Parameter(time, lower=0.02, upper=6.0, learning_rate=0.02)
            for name, time in TIMES.items()
        },
        phantom,
        matrix=(PIXELS, PIXELS),
        fov=(FOV, FOV),
        modules=[network],
        module_optimizer=lambda tensors: torch.optim.Adam(tensors, lr=5e-3),
        noise=noise_of_samples(),
        iterations=iterations,
        progress=False,
    )
    return result, network


def trained_on(network: Network, times: Mapping[str, float], noise: float, steps: int) -> Network:
    """Train the network on, at times [s] that stay: its steps need no simulation."""
    made = [blocks(seed) for seed in range(8)]
    inside = inner(torch.empty(0))
    values = [Trial(phantom, times).noisy(noise, 10) for phantom, _ in made]
    examples = torch.cat([each[:, inside] for ten in values for each in ten], 1)
    truth = torch.cat([T1[inside] for (_, T1), ten in zip(made, values, strict=True) for _ in ten])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(truth), (2048,), generator=random)
        optimizer.zero_grad()
        loss = (network(examples[:, chosen]) / truth[chosen] - 1).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return network


def noise_of_samples() -> float:
    """Return the deviation of a sample that gives relaxed water of T2 = 80 ms the `SNR`."""
    phantom, _ = blocks(0)
    model = pulseq_zero.ImagingModel(
        epi_ir, phantom, arguments=ARGUMENTS, matrix=(PIXELS, PIXELS), fov=(FOV, FOV)
    )
    with torch.no_grad():
        acquisition = model({"TI": 30.0})
    return float(acquisition.image.abs().mean()) / SNR / acquisition.reconstruction.noise_gain


class Trial:
    """Three images of one phantom, without noise and with.

    Parameters
    ----------
    phantom
        The phantom.
    times
        Inversion times [s] by name.
    """

    def __init__(self, phantom: Phantom, times: Mapping[str, float]) -> None:
        model = pulseq_zero.ImagingModel(
            epi_ir, phantom, arguments=ARGUMENTS, matrix=(PIXELS, PIXELS), fov=(FOV, FOV)
        )
        with torch.no_grad():
            self.clean = {name: model({"TI": time}) for name, time in times.items()}

    def noisy(self, noise: float, count: int) -> list[Tensor]:
        """Return the contrasts (3, x, y) of so many noisy acquisitions."""
        series = [
            noisy_acquisitions(each, noise, count=count, seed=place)
            for place, each in enumerate(self.clean.values())
        ]
        return [
            contrasts(dict(zip(TIMES, three, strict=True))) for three in zip(*series, strict=True)
        ]


def errors(
    times: Mapping[str, float], estimate: Any, noise: float, seeds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate T1 of new blocks in noise: return T1 [s] and the relative error of each pixel."""
    found: list[list[Tensor]] = [[], []]
    for seed in seeds:
        phantom, T1 = blocks(seed)
        inside = inner(T1)
        for values in Trial(phantom, times).noisy(noise, 10):
            with torch.no_grad():
                found[0].append(T1[inside])
                found[1].append((estimate(values) / T1 - 1)[inside])
    of_T1, of_error = (torch.cat(each).numpy() for each in found)
    return of_T1, of_error


def by_T1(T1: np.ndarray, error: np.ndarray, count: int = 6) -> tuple[np.ndarray, ...]:
    """Return middles of ranges of T1 [s], and bias and root mean square of the error in each."""
    edges = np.exp(np.linspace(math.log(SHORTEST), math.log(LONGEST), count + 1))
    place = np.digitize(T1, edges[1:-1])
    of_range = [error[place == number] for number in range(count)]
    bias = np.array([each.mean() for each in of_range])
    size = np.array([np.sqrt((each**2).mean()) for each in of_range])
    return np.sqrt(edges[1:] * edges[:-1]), bias, size


def make(iterations: int = 150, steps: int = 1500) -> tuple[Figure, dict[str, Any]]:
    """Learn, compare with fits, and draw."""
    noise = noise_of_samples()
    result, network = learn(iterations)
    learned = {name: float(result.best[name]) for name in TIMES}
    network = trained_on(network, learned, noise, steps)
    by_bound = dict(zip(TIMES, map(float, best_times()), strict=True))
    methods = {
        "start, fit": (TIMES, Fit(TIMES.values())),
        "bound's best, fit": (by_bound, Fit(by_bound.values())),
        "learned, fit": (learned, Fit(learned.values())),
        "learned, network": (learned, network),
    }
    brain = pulseq_zero.build_phantom({"source": "icbm152", "matrix": PIXELS, "fov": FOV})
    inside = {name: brain.mask(name, (PIXELS, PIXELS)) for name in ("wm", "gm")}
    logarithm = np.linspace(math.log(SHORTEST), math.log(LONGEST), 25)
    numbers: dict[str, Any] = {}
    maps, curves = {}, {}
    for name, (times, estimate) in methods.items():
        T1, error = errors(times, estimate, noise, seeds=range(100, 104))
        curves[name] = by_T1(T1, error)
        trial = Trial(brain, times)
        of_bound = bound(list(times.values()), np.exp(logarithm)) / SNR
        with torch.no_grad():
            maps[name] = estimate(trial.noisy(noise, 1)[0])
            clean = estimate(contrasts(trial.clean))
            signals = {
                each: acquired.with_signal(judged(epi_ir(TI=times[each], **ARGUMENTS), brain))
                for each, acquired in trial.clean.items()
            }
            by_judge = estimate(contrasts(signals))
        numbers[name] = {
            "times": times,
            "error": float(np.sqrt((error**2).mean())),
            "bias": float(error.mean()),
            "bound": float(np.sqrt((of_bound**2).mean())),
            "brain": {key: float(clean[mask].median()) for key, mask in inside.items()},
            "judged": {key: float(by_judge[mask].median()) for key, mask in inside.items()},
        }
    head = brain.maps()["PD"] > 0
    shown = {name: torch.where(head, maps[name], 0.0) for name in maps}
    return draw(result, by_bound, curves, shown), numbers


def draw(
    result: pulseq_zero.OptimizationResult,
    by_bound: Mapping[str, float],
    curves: Mapping[str, tuple[np.ndarray, ...]],
    maps: Mapping[str, Tensor],
) -> Figure:
    """Draw the course of the times, errors over T1, and maps of the brain."""
    colours = dict(zip(curves, (GREY, ORANGE, "black", BLUE), strict=True))
    with style():
        figure, ((course, error), pictures) = panels(chart_row(1.0, 1.2, height=6.0), image_row(3))
        for name in TIMES:
            course.plot(result.parameters[name], label=name)
        for time in by_bound.values():
            course.axhline(time, color="black", ls=":", lw=1)
        course.set(title="Inversion times", xlabel="Iteration", ylabel="TI [s]")
        for name, (T1, _, size) in curves.items():
            error.plot(T1, 100 * size, "o-", color=colours[name], label=name)
        over = np.exp(np.linspace(math.log(SHORTEST), math.log(LONGEST), 50))
        limit = 100 * bound(list(by_bound.values()), over) / SNR
        error.plot(over, limit, color=ORANGE, ls=":", label="bound of the bound's best")
        error.set(title="Error of T1, root mean square", xlabel="T1 [s]", ylabel="%", ylim=(0, 6))
        for axes in (course, error):
            axes.grid(True)
        legend_below(course, columns=3)
        legend_below(error, columns=2)
        for axes, name in zip(
            pictures, ("start, fit", "bound's best, fit", "learned, network"), strict=True
        ):
            show_image(axes, maps[name], f"{name}: T1 [s]", vmin=0, vmax=3, cmap="viridis")
    return figure


if __name__ == "__main__":
    save_example("t1_network", make)

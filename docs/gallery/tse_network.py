"""Refocusing angles of a single-shot TSE and a network, together against the blurring by T2."""

from __future__ import annotations

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
    chart_row,
    image_row,
    legend_below,
    panels,
    show_image,
    style,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.noise import with_noise
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

tse = load_function("sequences/tse.py:tse")

PIXELS, FOV, SPACING = 32, 0.224, 8e-3
ARGUMENTS = {"n_read": PIXELS, "TE": SPACING, "sampling_time": 2.56e-3, "TR": 0.5}
ECHO_TIME = (PIXELS // 2 + 1) * SPACING
"""Of the middle of k-space [s]."""
FULL = np.full(PIXELS, np.pi)
SNR = 40.0
"""Of the brain with 180 degrees: mean magnitude over the deviation of a pixel's real part."""
TRAINING, UNSEEN = range(5), range(100, 103)
"""Seeds of the anatomies to train with, and to judge by."""


def single_shot(refocusing: np.ndarray = FULL) -> pulseq_zero.Sequence:
    """Create a train of one echo for each line; angles of the pulses that refocus [rad].

    ``tse.py`` begins with a shot that is not measured: here its angles are next to nothing.
    """
    unmeasured = np.full(1 + PIXELS, 1e-3)
    return tse(np.stack([unmeasured, np.concatenate([[np.pi / 2], refocusing])]), **ARGUMENTS)


def head(seed: int) -> Phantom:
    """Build a brain of another anatomy and another slice for each seed."""
    return pulseq_zero.build_phantom(
        {
            "source": "icbm152",
            "matrix": 2 * PIXELS,
            "fov": FOV,
            "slice_position": 0.01 + 0.004 * (seed % 5),
            "deform": {"seed": seed, "largest": 0.006},
        }
    )


def ideal(phantom: Phantom) -> Tensor:
    """Return what a spin echo at `ECHO_TIME` of each line would show: (x, y) real.

    As sharp as k-space of so many lines allows.
    """
    decayed = torch.stack(
        [
            torch.where(pool.PD > 0, pool.PD * torch.exp(-ECHO_TIME / pool.T2), 0.0)
            for pool in phantom.pools.values()
        ]
    ).sum(0)
    fine, edge = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(decayed))), PIXELS // 2
    kept = fine[edge:-edge, edge:-edge]
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kept))).abs() / 4


class Network(torch.nn.Module):
    """Adds a correction to the magnitude image; long along y, in which the lines decay."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 12, (3, 9), padding=(1, 4)), torch.nn.ReLU(),
            torch.nn.Conv2d(12, 12, (3, 9), padding=(1, 4)), torch.nn.ReLU(),
            torch.nn.Conv2d(12, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Return the corrected (x, y) image."""
        return self.scale * image + self.layers(image[None, None])[0, 0]


def corrected(network: Network, acquisition: pulseq_zero.Acquisition) -> Tensor:
    """Return the network's image of an acquisition; it sees images of the order of one."""
    return network(4 * acquisition.image.abs())


def nrmse(image: Tensor, target: Tensor) -> Tensor:
    """Return the error relative to the target, of the best scale of the image."""
    scale = (image * target).sum() / image.square().sum()
    return (scale * image - target).norm() / target.norm()


def point(T1: float, T2: float) -> Phantom:
    """Return a tissue in a point, in which no encoding winds; relaxation times in s."""
    return Phantom({"tissue": TissuePool.of(torch.ones(1, 1), T1, T2)}, {}, (1e-4, 1e-4), 5e-3)


def lines_of(acquisition: pulseq_zero.Acquisition) -> Tensor:
    """Return the magnitude of each line's echo, in the middle of the line: (lines,)."""
    return acquisition.signal[:, 0].abs().reshape(PIXELS, PIXELS)[:, PIXELS // 2]


def even_train(iterations: int) -> Tensor:
    """Find angles (pulses,) [rad] that give all lines of a point the same signal.

    A point is simulated in no time, so that angles can go far: from a line of 50 to 150 degrees.
    """

    def uneven(acquisition: pulseq_zero.Acquisition) -> dict[str, Tensor]:
        signal = lines_of(acquisition)
        middle = signal[PIXELS // 2]
        return {"uneven": (signal / middle - 1).square().mean(), "dark": 0.02 / middle}

    ramp = torch.deg2rad(torch.linspace(50, 150, PIXELS, dtype=torch.float64))
    angles = pulseq_zero.Parameter(ramp, lower=math.radians(20), upper=math.pi, learning_rate=0.05)
    return pulseq_zero.optimize(
        single_shot,
        uneven,
        {"refocusing": angles},
        point(1.2, 0.08),
        iterations=iterations,
        progress=False,
    ).best["refocusing"]


def learn(
    refocusing: Tensor, noise: float, iterations: int, *, angles: bool
) -> tuple[Tensor, Network, list[float]]:
    """Train a network, with the angles or with them as they are.

    Parameters
    ----------
    refocusing
        (pulses,) angles to begin with [rad].
    noise
        Standard deviation of the real and of the imaginary part of a sample.
    iterations
        Number of steps, each on one of the anatomies.
    angles
        Whether the angles change, or all but nothing.

    Returns
    -------
    tuple
        Angles (pulses,) [rad], network, and the course of the loss.
    """
    torch.manual_seed(0)
    network = Network()
    phantoms = [head(seed) for seed in TRAINING]
    targets = [4 * ideal(phantom) for phantom in phantoms]

    def error(acquisition: pulseq_zero.Acquisition, iteration: int) -> Tensor:
        target = targets[iteration % len(targets)]
        return (corrected(network, acquisition) - target).square().mean() / target.square().mean()

    result = pulseq_zero.optimize(
        single_shot,
        error,
        {
            "refocusing": pulseq_zero.Parameter(
                refocusing,
                lower=math.radians(20),
                upper=math.pi,
                learning_rate=0.01 if angles else 1e-9,
            )
        },
        lambda iteration: phantoms[iteration % len(phantoms)],
        matrix=(PIXELS, PIXELS),
        modules=[network],
        module_optimizer=lambda tensors: torch.optim.Adam(tensors, lr=3e-3),
        noise=noise,
        iterations=iterations,
        progress=False,
    )
    # The last: of losses in other noise and anatomies each time, the lowest is chance
    return result.last["refocusing"], network, result.history["loss"].to_list()


def trained_on(network: Network, refocusing: Tensor, noise: float, steps: int) -> Network:
    """Train the network on, at angles (pulses,) [rad] that stay: no simulation is needed."""
    random = torch.Generator().manual_seed(0)
    acquired, targets = [], []
    for seed in TRAINING:
        phantom = head(seed)
        model = pulseq_zero.ImagingModel(single_shot, phantom, matrix=(PIXELS, PIXELS))
        with torch.no_grad():
            acquired.append(model({"refocusing": refocusing}))
        targets.append(4 * ideal(phantom))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = step % len(targets)
        target = targets[chosen]
        optimizer.zero_grad()
        image = corrected(network, with_noise(acquired[chosen], noise, random))
        ((image - target).square().mean() / target.square().mean()).backward()
        optimizer.step()
        scheduler.step()
    return network


def lines_of_tissues(refocusing: Tensor) -> dict[str, Tensor]:
    """Return the signal of each line (lines,), of white and grey matter."""
    signals = {}
    for name, T1, T2 in (("white matter", 0.83, 0.075), ("grey matter", 1.56, 0.083)):
        model = pulseq_zero.ImagingModel(single_shot, point(T1, T2), matrix=(PIXELS, PIXELS))
        with torch.no_grad():
            signals[name] = lines_of(model({"refocusing": refocusing}))
    return signals


def unseen(refocusing: Tensor, network: Network | None, noise: float) -> dict[str, Any]:
    """Image anatomies that were not trained with: error with noise, and under the judge.

    Returns
    -------
    dict
        ``error`` and ``judged``, the mean relative errors, and ``image`` (x, y) of the first one.
    """
    found: dict[str, Any] = {"error": [], "judged": [], "image": []}
    random = torch.Generator().manual_seed(0)
    for seed in UNSEEN:
        phantom = head(seed)
        target = ideal(phantom)
        model = pulseq_zero.ImagingModel(single_shot, phantom, matrix=(PIXELS, PIXELS))
        with torch.no_grad():
            acquisition = model({"refocusing": refocusing})
            signal = judged(single_shot(refocusing.numpy()), phantom, 3e-2)
            for name, each in (
                ("error", acquisition),
                # Voxels of isochromats are boxes, as large as the pixels' share of k-space
                ("judged", acquisition.with_signal(signal)),
            ):
                noisy = with_noise(each, noise, random)
                image = corrected(network, noisy) / 4 if network else noisy.image.abs()
                found[name].append(float(nrmse(image, target)))
                found["image"].append(image)
    return {
        "error": float(np.mean(found["error"])),
        "judged": float(np.mean(found["judged"])),
        "image": found["image"][0],
    }


def make(iterations: int = 60, steps: int = 1000) -> tuple[Figure, dict[str, Any]]:
    """Learn with the angles and without, compare on unseen anatomies, and draw."""
    full = torch.from_numpy(FULL)
    phantom = head(TRAINING[0])
    model = pulseq_zero.ImagingModel(single_shot, phantom, matrix=(PIXELS, PIXELS))
    with torch.no_grad():
        acquisition = model({"refocusing": full})
    brain = phantom.mask("brain", (PIXELS, PIXELS))
    noise = (
        float(acquisition.image.abs()[brain].mean()) / SNR / acquisition.reconstruction.noise_gain
    )
    _, alone, course_alone = learn(full, noise, iterations, angles=False)
    even = even_train(80)
    refocusing, network, course = learn(even, noise, iterations, angles=True)
    alone = trained_on(alone, full, noise, steps)
    network = trained_on(network, refocusing, noise, steps)
    methods = {
        "180°": (full, None),
        "180°, network": (full, alone),
        "even train": (even, None),
        "optimized, network": (refocusing, network),
    }
    found = {name: unseen(*method, noise) for name, method in methods.items()}
    numbers = {
        name: {key: each[key] for key in ("error", "judged")}
        | {"power": float((methods[name][0] / math.pi).square().mean())}
        for name, each in found.items()
    }
    numbers["angles_deg"] = {"even": torch.rad2deg(even), "optimized": torch.rad2deg(refocusing)}
    images = {"target": ideal(head(UNSEEN[0]))}
    images |= {
        name: found[name]["image"] for name in ("180°", "180°, network", "optimized, network")
    }
    courses = {"180°, network": course_alone, "optimized, network": course}
    return draw(images, refocusing, courses), numbers


def draw(
    images: Mapping[str, Tensor], refocusing: Tensor, courses: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw images of an unseen anatomy, the angles, the signal of the lines, and the losses."""
    with style():
        figure, (pictures, (angles, lines, losses)) = panels(
            image_row(4), chart_row(1.0, 1.0, 1.0, height=6.0)
        )
        for axes, (name, image) in zip(pictures, images.items(), strict=True):
            scaled = image * (image * images["target"]).sum() / image.square().sum()
            show_image(axes, scaled, name, vmin=0, vmax=float(images["target"].max()))
        angles.step(range(1, PIXELS + 1), torch.rad2deg(refocusing), where="mid", color=BLUE)
        angles.axhline(180, color=GREY, ls="--")
        angles.set(title="Refocusing angles", xlabel="Pulse", ylabel="°", ylim=(0, 190))
        steps = np.arange(PIXELS) - PIXELS // 2
        for train, colour, name in (
            (torch.from_numpy(FULL), GREY, "180°"),
            (refocusing, BLUE, "optimized"),
        ):
            for tissue, ls in zip(lines_of_tissues(train).items(), ("-", ":"), strict=True):
                signal = tissue[1] / tissue[1][PIXELS // 2]
                lines.plot(steps, signal, ls, color=colour, label=f"{name}, {tissue[0]}")
        lines.set(title="Signal of the lines, middle = 1", xlabel="ky [1 / field of view]")
        lines.set_ylim(0, None)
        for (name, course), colour in zip(courses.items(), (GREY, BLUE), strict=True):
            losses.semilogy(course, color=colour, label=name)
        losses.set(title="Loss", xlabel="Iteration")
        for axes in (angles, lines, losses):
            axes.grid(True)
        legend_below(lines, columns=1)
        legend_below(losses, columns=1)
    return figure


if __name__ == "__main__":
    save_example("tse_network", make)

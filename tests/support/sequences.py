"""Small sequences written out as repetitions, and phantoms to play them on."""

import math
from dataclasses import dataclass, field
from typing import Any

import MRzeroCore as mr0
import numpy as np
import torch

from pulseq_zero.conversion.repetitions import PulseUse, Repetitions

FOV = 0.224


@dataclass
class Writer:
    """Collects pulses and the events that follow them."""

    angles: list[float] = field(default_factory=list)
    phases: list[float] = field(default_factory=list)
    uses: list[PulseUse] = field(default_factory=list)
    events: list[list[tuple[float, ...]]] = field(default_factory=list)

    def pulse(self, degrees: float, phase_degrees: float, use: PulseUse) -> None:
        self.angles.append(math.radians(degrees))
        self.phases.append(math.radians(phase_degrees))
        self.uses.append(use)
        self.events.append([])

    def wait(self, time: float, kx: float = 0.0, ky: float = 0.0, kz: float = 0.0) -> None:
        self.events[-1].append((time, kx, ky, kz, 0.0, 0))

    def sample(self, time: float, kx: float, ky: float = 0.0, phase_degrees: float = 0.0) -> None:
        self.events[-1].append((time, kx, ky, 0.0, math.radians(phase_degrees), 1))

    def finish(self, dtype: torch.dtype = torch.float32) -> Repetitions:
        table = torch.tensor([row for rows in self.events for row in rows], dtype=torch.float64)
        return Repetitions(
            pulse_angle=torch.tensor(self.angles, dtype=dtype),
            pulse_phase=torch.tensor(self.phases, dtype=dtype),
            pulse_use=tuple(self.uses),
            event_count=tuple(len(rows) for rows in self.events),
            event_time=table[:, 0].to(dtype),
            gradient_moment=table[:, 1:4].to(dtype),
            adc_phase=table[:, 4].to(dtype),
            adc_usage=table[:, 5].long(),
        )


def turbo_spin_echo(
    n: int = 16, refocus: float = 120.0, spacing: float = 10e-3, off_echo: float = 0.5
) -> Repetitions:
    """Play one echo train over all lines, with crushers and an inversion before.

    A sample exactly at an echo sees T2' at its cusp, where the derivative by time is whatever
    rounding makes of it: the echo lies off the samples by half a dwell.
    """
    write, dk = Writer(), 1 / FOV
    dwell = 0.4 * spacing / n
    side = (spacing - n * dwell) / 4
    write.pulse(180, 0, "inversion")
    write.wait(0.5, kz=400.0)
    write.pulse(90, 90, "excitation")
    write.wait(spacing / 2 - off_echo * dwell, kx=n / 2 * dk, kz=200.0)
    for line in range(n):
        ky = (line - n // 2) * dk
        write.pulse(refocus, 0, "refocusing")
        write.wait(side, kz=200.0)
        write.wait(side, ky=ky)
        for _ in range(n):
            write.sample(dwell, dk)
        write.wait(side, ky=-ky)
        write.wait(side, kz=200.0)
    return write.finish()


def inversion_epi(n: int = 16) -> Repetitions:
    """Read all lines after one excitation and one refocusing pulse."""
    write, dk, dwell = Writer(), 1 / FOV, 10e-6
    write.pulse(180, 0, "inversion")
    write.wait(1.2, kz=300.0)
    write.pulse(90, 0, "excitation")
    write.wait(20e-3, kx=n / 2 * dk, ky=n / 2 * dk, kz=150.0)
    write.pulse(170, 90, "refocusing")
    write.wait(10e-3, kz=150.0)
    for line in range(n):
        sign = 1 if line % 2 == 0 else -1
        for _ in range(n):
            write.sample(dwell, sign * dk)
        write.wait(60e-6, sign * dk, dk)
    write.wait(20e-3)
    return write.finish()


def gradient_echo(
    n: int = 16, flip: float = 15.0, repetition_time: float = 8e-3, spoiled: bool = True
) -> Repetitions:
    """Spoil (RF and gradient) or balance a train of gradient echoes."""
    write, dk = Writer(), 1 / FOV
    dwell = 0.4 * repetition_time / n
    side = (repetition_time - n * dwell) / 2
    for line in range(n):
        ky = (line - n // 2) * dk
        phase = 117.0 * line * (line + 1) / 2 if spoiled else 180.0 * (line % 2)
        angle = flip / 2 if line == 0 and not spoiled else flip
        write.pulse(angle, phase % 360, "excitation")
        write.wait(side, -n / 2 * dk, ky)
        for _ in range(n):
            write.sample(dwell, dk, phase_degrees=-phase % 360)
        if spoiled:
            write.wait(side, n * dk, -ky, 300.0)
        else:
            write.wait(side, -n / 2 * dk, -ky)
    return write.finish()


def balanced(n: int = 16) -> Repetitions:
    """Balanced steady-state free precession."""
    return gradient_echo(n, 40.0, 5e-3, spoiled=False)


def radial(n: int = 16) -> Repetitions:
    """Read spokes through the centre, each along its own direction."""
    write, dk, dwell = Writer(), 1 / FOV, 50e-6
    for spoke in range(n):
        x, y = math.cos(spoke * 1.9416), math.sin(spoke * 1.9416)
        write.pulse(20, 50.0 * spoke, "excitation")
        write.wait(1e-3, -n / 2 * dk * x, -n / 2 * dk * y)
        for _ in range(n):
            write.sample(dwell, dk * x, dk * y)
        write.wait(4e-3, n * dk * x, n * dk * y, 250.0)
    return write.finish()


def spiral(n: int = 16, arms: int = 4) -> Repetitions:
    """Read spirals outwards from the centre, after a spin echo."""
    write, samples = Writer(), n * n // arms
    for arm in range(arms):
        write.pulse(60, 90.0, "excitation")
        write.wait(5e-3, kz=150.0)
        write.pulse(150, 0.0, "refocusing")
        write.wait(4e-3, kz=150.0)
        x = y = 0.0
        for index in range(samples):
            part = (index + 1) / samples
            turn = 2 * math.pi * (part * n / 2 / arms + arm / arms)
            new_x = part * n / 2 / FOV * math.cos(turn)
            new_y = part * n / 2 / FOV * math.sin(turn)
            write.sample(10e-6, new_x - x, new_y - y)
            x, y = new_x, new_y
        write.wait(20e-3, kz=500.0)
    return write.finish()


def fingerprinting(n: int = 16, *, seed: int = 0) -> Repetitions:
    """Play a train of angles and repetition times that are all different, after an inversion."""
    random = np.random.default_rng(seed)
    write, dk = Writer(), 1 / FOV
    write.pulse(180, 0, "inversion")
    write.wait(20e-3, kz=600.0)
    for line in range(n):
        write.pulse(10 + 50 * abs(math.sin(math.pi * line / 100)), 0, "excitation")
        write.wait(3e-3, kx=-4 * dk)
        for _ in range(8):
            write.sample(1e-4, dk)
        write.wait(8.2e-3 + 1e-5 * int(random.integers(300)), kx=-4 * dk, kz=500.0)
    return write.finish()


CASES = {
    "tse": turbo_spin_echo,
    "epi": inversion_epi,
    "gre": gradient_echo,
    "bssfp": balanced,
    "radial": radial,
    "spiral": spiral,
}


def phantom(n: int = 16, *, shape: str = "sinc", **options: Any) -> mr0.SimData:
    """Make a disc whose maps vary smoothly and at random, of voxels of a shape."""
    return mr0.VoxelGridPhantom(**phantom_maps(n, **options)).build(voxel_shape=shape)


def phantom_maps(
    n: int = 16,
    *,
    coils: int = 1,
    uniform: bool = False,
    complex_b1: bool = False,
    transmitters: int = 1,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Make the maps of the disc, as MRzeroCore's phantoms take them."""
    generator = torch.Generator().manual_seed(seed)
    axis = (torch.arange(n) - n // 2) / n
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    x, y = x[..., None], y[..., None]
    inside = (x**2 + y**2 < 0.2).float()

    def random() -> torch.Tensor:
        return torch.rand(n, n, 1, generator=generator)

    one = torch.ones(n, n, 1)
    sensitivity = torch.stack([
        torch.polar(torch.exp(-2 * ((x - 0.4 * math.cos(c)) ** 2 + (y - 0.4 * math.sin(c)) ** 2)),
                    3 * x * math.sin(c) + 2 * y)
        for c in range(coils)
    ])  # fmt: skip
    B1 = torch.stack([
        torch.polar(1.1 - 0.4 * (x**2 + y**2) - 0.1 * c * x, (2 * x - y + c) * float(complex_b1))
        for c in range(transmitters)
    ])  # fmt: skip
    return {
        "PD": inside * (0.7 + 0.3 * random()),
        "T1": 0.8 + 0.8 * random(),
        "T2": 0.06 + 0.06 * random(),
        "T2dash": 0.05 * one if uniform else 0.02 + 0.06 * random(),
        "D": 1.0 * one if uniform else 0.5 + 2.0 * random(),
        "B0": 40 * (x - y) + 10 * random(),
        "B1": B1,
        "coil_sens": sensitivity if coils > 1 else torch.ones(1, n, n, 1),
        "affine": torch.diag(torch.tensor([FOV / n, FOV / n, 0.008])).mul(1000) @ torch.eye(3, 4),
    }


def with_one_history(graph: mr0.Graph) -> mr0.Graph:
    """Cut off all ancestors of a state but the first, in place.

    MRzeroCore differentiates a state's position along that one, so do finite differences of a
    simulation on a graph that stays: both are right where there is no other.
    """
    for states in graph:
        for state in states:
            if state.dist_type == "z0":
                state.ancestors = [edge for edge in state.ancestors if edge[1].dist_type == "z0"]
            state.ancestors = state.ancestors[:1]
    return graph

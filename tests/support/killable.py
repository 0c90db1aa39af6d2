"""An optimization to be killed: of a sequence that has to be traced again on the way."""

from __future__ import annotations

from pathlib import Path

import pypulseq as pp
import torch
import torch._dynamo  # by torch's optimizers, so that forks of this process need not

import pulseq_zero.simulation.compiled.backend  # noqa: F401 - likewise the first simulation
from pulseq_zero.files.store import save_table, save_tensors
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.phantom import build_phantom

PHANTOM = build_phantom({"source": "icbm152", "matrix": 16})
ITERATIONS = {"adam": 24, "lbfgs": 8}


def two_lines(TI: float = 0.6, flip: float = 1.2, strength: float = 1.0) -> pp.Sequence:
    """Invert, wait, and acquire two lines.

    The number of blocks depends on TI, so that the function has to be traced again on the way;
    the strength of the readout changes what the simulation keeps from call to call.
    """
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    seq = pp.Sequence(system)
    pulse = {"duration": 1e-3, "delay": 100e-6, "system": system}
    seq.add_block(pp.make_block_pulse(flip_angle=3.0, use="inversion", **pulse))
    seq.add_block(pp.make_trapezoid("z", area=2000, system=system))
    waits = 1 + int(TI / 0.1)
    for _ in range(waits):
        seq.add_block(pp.make_delay(round(TI / waits / 1e-5) * 1e-5))
    gx = pp.make_trapezoid("x", amplitude=strength * 50e3, flat_time=1.6e-3, system=system)
    gx_pre = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=system)
    adc = pp.make_adc(num_samples=16, dwell=1e-4, delay=gx.rise_time, system=system)
    for line in range(2):
        seq.add_block(pp.make_block_pulse(flip_angle=flip, use="excitation", **pulse))
        gy = pp.make_trapezoid("y", area=5.0 * line, duration=1e-3, system=system)
        seq.add_block(gx_pre, gy)
        seq.add_block(gx, adc)
        seq.add_block(pp.make_trapezoid("z", area=2000, system=system))
    seq.set_definition("FOV", [0.2, 0.2, 0.2])
    return seq


def loss(parameters: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """Return a loss that draws random numbers and has no minimum nearby."""
    return (1 + 0.1 * torch.rand(())) * (image.abs().sum() - parameters["strength"])


def optimize_in(folder: Path, method: str) -> None:
    """Optimize from wherever the checkpoint in a folder is, and write the result there."""
    torch.set_num_threads(1)
    result = optimize(
        two_lines,
        loss,
        {
            "TI": Parameter(0.62, 0.2, 2.0, 0.01),
            "flip": Parameter(1.2, 0.1, 3.0, 0.02),
            # Steps that turn the spins by less than the simulation's tolerance
            "strength": Parameter(1.0, 0.5, 1.5, 1e-7),
        },
        PHANTOM,
        method=method,
        iterations=ITERATIONS[method],
        verify_every=4,
        checkpoint=folder / "checkpoint.safetensors",
        checkpoint_seconds=0.0,
        progress=False,
        matrix=(16, 2),
    )
    save_tensors(folder / "parameters.safetensors", result.parameters)
    save_table(folder / "history.csv", result.history)

"""Time one sequence on one engine, in a process of its own so that its memory can be told.

Usage: python engine_case.py CASE ENGINE THREADS OUTPUT.npz
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation import Simulator, Thresholds
from pulseq_zero.simulation.mrzero import compute_graph, rotation_table
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support import sequences

ALL = ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase")
THRESHOLDS = Thresholds(min_emitted_signal=1e-2, min_latent_signal=1e-2)
PHANTOM = 96
# Larger ones do not fit into 16 GB with the reference, which keeps all of its intermediates.
MATRIX = {"tse": 64, "epi": 64, "gre": 64, "bssfp": 16, "radial": 32, "spiral": 32}


def repetitions_of(case: str) -> tuple[Repetitions, tuple[str, ...]]:
    """Return the sequence and what to differentiate by."""
    if case == "tse":
        return sequences.turbo_spin_echo(MATRIX[case], off_echo=0.0), ("pulse_angle",)
    return sequences.CASES[case](MATRIX[case]), ALL


def _status(name: str) -> float:
    """Return a line of Linux's account of this process [MiB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def restart_peak() -> float:
    """Forget the peak of memory so far; return what is in use [MiB].

    What was freed is handed back first, lest it is used again without being seen.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_since(before: float) -> float:
    """Return how far the peak lies above what was in use when it was forgotten [MiB]."""
    return _status("VmHWM") - before


def main(case: str, engine: str, threads: int, output: Path, runs: int = 15) -> None:
    """Time forward and backward; store signal and gradients."""
    torch.set_num_threads(threads)
    sequence, names = repetitions_of(case)
    data = sequences.phantom(PHANTOM)
    graph = compute_graph(sequence, data, THRESHOLDS, rotation_table(data))
    options: dict = {"engine": "mrzero"} if engine == "mrzero" else {}
    if engine == "torch":
        options["backend"] = TorchBackend()
    simulator = Simulator(data, thresholds=THRESHOLDS, **options)
    before = restart_peak()
    forward, backward = [], []
    for _ in range(2 if engine == "mrzero" else runs):
        generator = torch.Generator().manual_seed(0)
        leaves = {name: getattr(sequence, name).clone().requires_grad_() for name in names}
        start = time.perf_counter()
        result = simulator(dataclasses.replace(sequence, **leaves), graph)
        middle = time.perf_counter()
        # Every input has a part in this loss; its size alone would not depend on the receiver.
        weight = torch.randn(result.signal.shape, dtype=torch.complex64, generator=generator)
        loss = (result.signal * weight).real.sum() + result.signal.abs().square().sum() / 10
        ready = time.perf_counter()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        forward.append(middle - start)
        backward.append(time.perf_counter() - ready)
        signal = result.signal.detach()
        del loss, result
    peak = peak_since(before)
    found = {"signal": signal} | dict(zip(names, gradients, strict=True))
    np.savez(output, **{name: values.numpy() for name, values in found.items()})
    print(
        json.dumps({
            "forward_s": min(forward),
            "backward_s": min(backward),
            "peak_mib": peak,
            "voxels": data.PD.numel(),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))

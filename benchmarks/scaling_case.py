"""Time one gradient step of a turbo spin echo against the size of phantom and graph.

Usage: python scaling_case.py MATRIX ACCURACY, the phantom being MATRIX x MATRIX.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import torch
from engine_case import peak_since, repetitions_of, restart_peak, sequences

from pulseq_zero.simulation import Simulator, Thresholds


def main(matrix: int, accuracy: float, runs: int = 7) -> None:
    """Print the fastest times, and the memory that the steps took."""
    torch.set_num_threads(1)
    sequence, names = repetitions_of("tse")
    data = sequences.phantom(matrix)
    before = restart_peak()
    simulator = Simulator(data, thresholds=Thresholds.of_accuracy(accuracy))
    simulator(sequence)  # keeps the states
    forward, backward = [], []
    for _ in range(runs):
        leaves = {name: getattr(sequence, name).clone().requires_grad_() for name in names}
        start = time.perf_counter()
        result = simulator(dataclasses.replace(sequence, **leaves))
        middle = time.perf_counter()
        loss = result.signal.abs().square().sum()
        ready = time.perf_counter()
        torch.autograd.grad(loss, list(leaves.values()))
        forward.append(middle - start)
        backward.append(time.perf_counter() - ready)
    print(
        json.dumps({
            "voxels": data.PD.numel(),
            "states": result.states,
            "ours_forward_s": min(forward),
            "ours_backward_s": min(backward),
            "ours_peak_mib": peak_since(before),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

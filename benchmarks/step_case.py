"""Time whole optimization steps of this package: replay, graph, signal, image, backward.

Usage: python step_case.py flair|tse instantaneous|played THREADS

At the accuracy that the pipeline optimizes with.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "sequences"), str(ROOT / "tests" / "simulation")]
import epi_ir  # noqa: E402
import tse  # noqa: E402

import sequences  # noqa: E402
from pulseq_zero.conversion import SequenceModel  # noqa: E402
from pulseq_zero.conversion.options import Pulses  # noqa: E402
from pulseq_zero.imaging.reconstruction import reconstruct  # noqa: E402
from pulseq_zero.simulation import Simulator  # noqa: E402


def main(case: str, pulses: Pulses, threads: int, runs: int = 6) -> None:
    """Print the time of the fastest step, and the number of states."""
    torch.set_num_threads(threads)
    if case == "flair":
        model, start = SequenceModel(epi_ir.epi_ir, pulses=pulses), {"TI": torch.tensor(1.2)}
    else:
        angles = 0.7 * torch.tensor(tse.FLIP_ANGLES)
        model, start = SequenceModel(tse.tse, pulses=pulses), {"flip_angles": angles}
    simulator = Simulator(sequences.phantom(96))
    times, states = [], 0
    for run in range(runs):
        parameters = {name: ((1 + 1e-3 * run) * v).requires_grad_() for name, v in start.items()}
        begin = time.perf_counter()
        repetitions = model(parameters)
        simulation = simulator(repetitions)
        signal, states = simulation.signal, simulation.states
        image = reconstruct(signal, repetitions.detach().kspace(), (64, 64), (0.224, 0.224))
        image.abs().square().sum().backward()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"step_s": min(times), "states": states}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))  # type: ignore[arg-type]

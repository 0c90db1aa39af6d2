"""Time whole optimization steps of this package: replay, graph, signal, image, backward.

Usage: python step_case.py flair|tse instantaneous|played THREADS

On the phantom and at the accuracy that the pipeline optimizes with by default.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "sequences"))
import epi_ir  # noqa: E402
import tse  # noqa: E402

from pulseq_zero.conversion.options import Pulses  # noqa: E402
from pulseq_zero.imaging.model import ImagingModel  # noqa: E402
from pulseq_zero.phantom import build_phantom  # noqa: E402


def main(case: str, pulses: Pulses, threads: int, runs: int = 6) -> None:
    """Print the time of the fastest step, and the numbers of states and voxels."""
    torch.set_num_threads(threads)
    if case == "flair":
        function, start = epi_ir.epi_ir, {"TI": torch.tensor(1.2)}
    else:
        function, start = tse.tse, {"flip_angles": 0.7 * torch.tensor(tse.FLIP_ANGLES)}
    model = ImagingModel(function, build_phantom({"source": "icbm152"}), pulses=pulses)
    times, states = [], 0
    for run in range(runs):
        parameters = {name: ((1 + 1e-3 * run) * v).requires_grad_() for name, v in start.items()}
        begin = time.perf_counter()
        acquired = model(parameters)
        acquired.image.abs().square().sum().backward()
        times.append(time.perf_counter() - begin)
        states = acquired.simulation.states
    voxels = model.simulator.data.PD.numel()
    print(json.dumps({"step_s": min(times), "states": states, "voxels": voxels}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))  # type: ignore[arg-type]

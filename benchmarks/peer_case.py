"""Time whole optimization steps of pulseqzero and MRzeroCore on the same sequence script.

Runs in an environment of its own, where pulseqzero 1.1.0 is installed:
python peer_case.py flair|tse THREADS MAPS.npz
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import MRzeroCore as mr0
import numpy as np
import pulseqzero
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "sequences"), str(Path(__file__).parent)]


def phantom_of(path: Path) -> mr0.TissueDict:
    """Return a phantom of several pools, whose maps are called ``pool/map``."""
    pools: dict[str, dict[str, torch.Tensor]] = {}
    for name, values in np.load(path).items():
        pool, _, kind = name.partition("/")
        pools.setdefault(pool, {})[kind] = torch.from_numpy(values)
    return mr0.TissueDict({pool: mr0.VoxelGridPhantom(**maps) for pool, maps in pools.items()})


def main(case: str, threads: int, phantom: Path, runs: int = 2) -> None:
    """Print the time of the fastest step."""
    torch.set_num_threads(threads)
    if case == "flair":
        import epi_ir as script

        function, start, name = script.epi_ir, torch.tensor(1.2), "TI"
    else:
        import tse as script

        function, name = script.tse, "flip_angles"
        start = 0.7 * torch.tensor(script.FLIP_ANGLES, dtype=torch.float32)
    script.pp = pulseqzero
    # Python's own does not take tensors; the delay may as well stay off the raster here.
    script.round = lambda value: value
    data = phantom_of(phantom).build()
    times = []
    for run in range(runs):
        value = ((1 + 1e-3 * run) * start).requires_grad_()
        begin = time.perf_counter()
        sequence = function(**{name: value}).to_mr0()
        graph = mr0.compute_graph(sequence, data, 200, 1e-4)
        signal = mr0.execute_graph(graph, sequence, data, 1e-2, 1e-2, print_progress=False)
        kspace = sequence.get_kspace()
        image = mr0.reco_adjoint(signal, kspace, (64, 64, 1), (0.224, 0.224, 1))
        image.abs().square().sum().backward()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"step_s": min(times)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))

"""Time building the TSE with a flip angle for each of its 85 pulses: plain, traced, replayed.

Usage: python tracing_case.py ours|peer THREADS

``ours`` times the plain PyPulseq script, its trace, and replay with conversion and backward;
``peer`` times the same script built and converted by pulseqzero 1.1.0, in an environment of
its own. Times are the best of many, in milliseconds; what is compared alternates.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "sequences"))
import tse

# No two angles are equal, as in an optimization.
START = torch.from_numpy(tse.FLIP_ANGLES) * torch.linspace(0.6, 1.0, tse.FLIP_ANGLES.size).reshape(
    tse.FLIP_ANGLES.shape
)


def best(*functions: Callable[[], object], runs: int) -> list[float]:
    """Run functions in turn; return the fastest time of each [ms]."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, taken in zip(functions, times, strict=True):
            begin = time.perf_counter()
            function()
            taken.append(1e3 * (time.perf_counter() - begin))
    return [min(taken[1:]) for taken in times]


def ours() -> dict[str, float]:
    """Time plain PyPulseq and this package."""
    from pulseq_zero.conversion import SequenceModel
    from pulseq_zero.tracing import trace

    plain = START.numpy()
    model = SequenceModel(tse.tse)
    leaf = START.clone().requires_grad_()

    def replay_forward() -> torch.Tensor:
        repetitions = model({"flip_angles": leaf})
        return repetitions.pulse_angle.square().sum() + repetitions.event_time.sum()

    replay_forward()
    plain_ms, trace_ms = best(
        lambda: tse.tse(flip_angles=plain),
        lambda: trace(tse.tse, {"flip_angles": START}),
        runs=40,
    )
    (first_ms,) = best(lambda: SequenceModel(tse.tse)({"flip_angles": START}), runs=8)
    forward_ms, both_ms = best(
        replay_forward, lambda: torch.autograd.grad(replay_forward(), leaf), runs=300
    )
    assert model.retraces == 0
    return {
        "plain_pypulseq_ms": plain_ms,
        "trace_ms": trace_ms,
        "trace_by_plain": trace_ms / plain_ms,
        "trace_and_first_conversion_ms": first_ms,
        "replay_ms": forward_ms,
        "replay_and_backward_ms": both_ms,
    }


def peer() -> dict[str, float]:
    """Time pulseqzero: the sequence is built anew for every step, and converted."""
    import pulseqzero

    tse.pp = pulseqzero
    # Python's own does not take tensors; the delay may as well stay off the raster here.
    tse.round = lambda value: value
    leaf = START.float().requires_grad_()
    built = tse.tse(flip_angles=leaf)

    def step() -> object:
        return tse.tse(flip_angles=leaf).to_mr0()

    build_ms, convert_ms, step_ms = best(
        lambda: tse.tse(flip_angles=leaf), built.to_mr0, step, runs=20
    )
    return {
        "peer_build_ms": build_ms,
        "peer_convert_ms": convert_ms,
        "peer_build_and_convert_ms": step_ms,
    }


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps({"pulses": START.numel()} | {"ours": ours, "peer": peer}[sys.argv[1]]()))

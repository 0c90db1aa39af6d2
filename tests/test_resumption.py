"""An optimization that is killed goes on as if it had not been.

What was done before the kill is in the checkpoint; after it, a new process may round products
of matrices differently. A line search makes more of that than Adam does.
"""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from killable import ITERATIONS, optimize_in
from pulseq_zero.store import load_table, load_tensors

TOLERANCE = {"adam": 1e-4, "lbfgs": 1e-2}
KILLS = {"adam": 14, "lbfgs": 6}


@pytest.fixture(scope="module")
def processes():
    """Make processes that have imported everything already, and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        context.set_forkserver_preload(["killable"])
        # The server starts with its first process
        first = context.Process(target=print)
        first.start()
        first.join()
        yield context


@pytest.mark.parametrize("method", KILLS)
def test_runs_killed_at_random_moments(processes, tmp_path, method):
    unbroken = tmp_path / "unbroken"
    optimize_in(unbroken, method)
    begin = time.monotonic()
    start(processes, tmp_path / "timed", method).join(60)
    duration = time.monotonic() - begin
    moment = random.Random(method)
    kills = kills_in_the_midst = 0
    while kills < KILLS[method]:
        folder = tmp_path / f"killed_{kills}"
        process = start(processes, folder, method)
        while process.exitcode is None:
            process.join(moment.uniform(0.4, 1.0) * duration if kills < KILLS[method] else 60)
            if process.exitcode is None:
                process.kill()
                process.join()
                kills += 1
                kills_in_the_midst += (folder / "checkpoint.safetensors").exists()
                process = start(processes, folder, method)
        assert process.exitcode == 0
        check_equal(folder, unbroken, method)
    assert kills_in_the_midst > 0


def start(processes, folder, method):
    process = processes.Process(target=optimize_in, args=(folder, method))
    process.start()
    return process


def check_equal(folder, unbroken, method):
    found, expected = (load_tensors(f / "parameters.safetensors")[0] for f in (folder, unbroken))
    assert len(expected["TI"]) == ITERATIONS[method] + 1
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=TOLERANCE[method], atol=0)
    histories = [load_table(f / "history.csv").drop(columns="seconds") for f in (folder, unbroken)]
    assert list(histories[0].columns) == list(histories[1].columns)
    found_loss, expected_loss = (history["loss"].to_numpy() for history in histories)
    largest = abs(expected_loss).max()
    assert abs(found_loss - expected_loss).max() < TOLERANCE[method] * largest

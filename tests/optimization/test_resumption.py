"""An optimization that is killed goes on as if it had not been, bit for bit.

What it is held against comes from a process that compiles the simulation; those that are killed
read what is compiled.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from killable import ITERATIONS, optimize_in
from pulseq_zero.files.store import load_table, load_tensors

HERE = str(Path(__file__).parents[1])
KILLS = {"adam": 14, "lbfgs": 6}


@pytest.fixture(scope="module")
def processes():
    """Make processes that have imported everything already, and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        context.set_forkserver_preload(["killable"])
        # The server starts with its first process
        first = context.Process(target=print)
        first.start()
        first.join()
        yield context


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Optimize by each method in a process that finds nothing compiled."""
    folder = tmp_path_factory.mktemp("unbroken")
    program = (
        "import pathlib, sys; from killable import optimize_in; folder, *methods = sys.argv[1:]; "
        "[optimize_in(pathlib.Path(folder, method), method) for method in methods]"
    )
    paths = os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])
    environment = {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": paths}
    command = [sys.executable, "-c", program, str(folder), *KILLS]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    return folder


@pytest.mark.parametrize("method", KILLS)
def test_runs_killed_at_random_moments(processes, unbroken, tmp_path, method):
    optimize_in(tmp_path / "compiled", method)
    begin = time.monotonic()
    start(processes, tmp_path / "timed", method).join(60)
    duration = time.monotonic() - begin
    check_equal(tmp_path / "timed", unbroken / method, ITERATIONS[method])
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
        check_equal(folder, unbroken / method, ITERATIONS[method])
    assert kills_in_the_midst > 0


def start(processes, folder, method):
    process = processes.Process(target=optimize_in, args=(folder, method))
    process.start()
    return process


def check_equal(folder, unbroken, iterations):
    found, expected = (load_tensors(f / "parameters.safetensors")[0] for f in (folder, unbroken))
    assert len(expected["TI"]) == iterations + 1
    for name, values in expected.items():
        assert torch.equal(found[name], values)
    histories = [load_table(f / "history.csv").drop(columns="seconds") for f in (folder, unbroken)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)

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

import numpy as np
import pandas as pd
import pypulseq as pp
import pytest
import torch

from pulseq_zero.files.store import load_table, load_tensors
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.simulation.pdg import kept_graph
from pulseq_zero.simulation.pdg.prepass import make_graph
from support.killable import ITERATIONS, PHANTOM, optimize_in

HERE = str(Path(__file__).parents[1])
KILLS = {"adam": 14, "lbfgs": 6}

FLIPS = [1.5, *[2.6] * 8]


@pytest.fixture(scope="module")
def processes():
    """Make processes that have imported everything already, and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        context.set_forkserver_preload(["support.killable"])
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
        "import pathlib, sys; from support.killable import optimize_in; "
        "folder, *methods = sys.argv[1:]; "
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
    kills = kills_in_the_midst = rounds = 0
    while kills < KILLS[method]:
        # Another one, also where a run was over before it was killed: it would always be
        folder, rounds = tmp_path / f"round_{rounds}", rounds + 1
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


def train(flips=FLIPS):
    """Refocus a few echoes, spoil, and do it again; only flip angles are to be optimized."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    sequence = pp.Sequence(system)
    gx = pp.make_trapezoid("x", flat_area=80, flat_time=1.6e-3, system=system)
    adc = pp.make_adc(num_samples=16, dwell=1e-4, delay=gx.rise_time, system=system)
    crusher = pp.make_trapezoid("z", area=400, duration=1.5e-3, system=system)
    before = pp.make_trapezoid("x", area=gx.area / 2, duration=1.5e-3, system=system)
    for number, flip in enumerate(flips):
        use = "refocusing" if number else "excitation"
        pulse = pp.make_block_pulse(
            flip,
            duration=1e-3,
            delay=100e-6,
            phase_offset=0.0 if number else np.pi / 2,
            use=use,
            system=system,
        )
        sequence.add_block(pulse)
        if number == 0:
            sequence.add_block(before, crusher)
            continue
        gy = [pp.make_trapezoid("y", area=s * 5.0 * (number - 4), duration=1.5e-3, system=system)
              for s in (1, -1)]  # fmt: skip
        sequence.add_block(crusher, gy[0])
        sequence.add_block(gx, adc)
        sequence.add_block(crusher, gy[1])
    sequence.set_definition("FOV", [0.2, 0.2, 0.2])
    return sequence


def bright(parameters, image):
    """Return a loss whose minimum is near, and is found in ever smaller steps."""
    return (parameters["flips"] - 2.5).square().sum() - 3e-3 * image.abs().sum()


def optimize_train(method, checkpoint, iterations, loss=bright):
    return optimize(
        train,
        loss,
        {"flips": Parameter(torch.tensor(FLIPS), 0.0, 6.0, 0.03)},
        PHANTOM,
        method=method,
        iterations=iterations,
        accuracy=3e-2,
        verify_every=5,
        verify_share=0.0,
        checkpoint=checkpoint,
        checkpoint_seconds=0.0,
        progress=False,
        matrix=(16, 8),
    )


@pytest.mark.parametrize("method", ["adam", "rprop", "lbfgs"])
def test_a_graph_that_is_kept_does_not_tell_where_a_run_was_stopped(tmp_path, monkeypatch, method):
    """It is remade of the parameters that it was made of, not of those that a run goes on with."""
    made, evaluated = [], []

    def counted(*given, slopes, **options):
        made.append(slopes)
        return make_graph(*given, slopes=slopes, **options)

    monkeypatch.setattr(kept_graph, "make_graph", counted)

    def loss(parameters, image):
        evaluated.append(parameters["flips"].requires_grad)
        return bright(parameters, image)

    unbroken = optimize_train(method, None, 12, loss)
    assert 1 < sum(made) < 0.9 * sum(evaluated)
    for iterations in (3, 4, 5, 6, 8, 9, 12):
        stopped = optimize_train(method, tmp_path / "checkpoint.safetensors", iterations)
    assert torch.equal(stopped.parameters["flips"], unbroken.parameters["flips"])
    histories = [result.history.drop(columns="seconds") for result in (stopped, unbroken)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)

"""The pipeline on a real Slurm: two nodes that are this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch

from cluster import Cluster, missing, wait
from pipeline_copy import Pipeline
from pulseq_zero.store import load_tensors

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

PROFILE = ("--workflow-profile", "workflow/profiles/slurm", "--latency-wait", "10")
ENDS = ("results/flair_ti/optimized/image_tight.safetensors", "results/flair_ti/scan.csv")
# Of the largest value: another node may round otherwise
TOLERANCE = 1e-4
ITERATIONS = 300
SEEDS = (0, 1, 2)

# Slow for as long as there is a file, so that its job can be killed in the midst of it
HELD_LOSS = """
import time
from pathlib import Path


def held(context):
    target = 0.8 * context.start_image

    def loss(parameters, image):
        if Path("hold").exists():
            time.sleep(1)
        return (image - target).abs().square().sum()

    return loss
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def small_pipeline(root: Path, folder: Path) -> Pipeline:
    pipeline = Pipeline(root, folder)
    config = pipeline.read("config/config.yaml")
    config["experiments"] = ["flair_ti", "held"]
    del config["other_phantoms"]
    config["phantom"]["matrix"] = 32
    config["simulation"].update(accuracy=1e-2, tight_accuracy=1e-3)
    pipeline.write("config/config.yaml", config)
    pipeline.edit(
        "config/experiments/flair_ti.yaml",
        optimizer={"iterations": 8, "verify_every": 4},
        scan={"first": 2.6, "last": 3.2, "count": 7},
        loss={"settings": {"dark": "csf", "bright": "brain", "share": 0.5}},
    )
    (pipeline.folder / "losses").mkdir()
    (pipeline.folder / "losses/held.py").write_text(HELD_LOSS)
    held = {
        "title": "An optimization that is killed",
        "sequence": {"function": "sequences/epi_ir.py:epi_ir", "arguments": {"TI": 2.5}},
        "parameters": {"flip_angle": {"start": 1.2, "learning_rate": 1e-3, "unit": "rad"}},
        "loss": {"function": "losses/held.py:held"},
        "optimizer": {"iterations": ITERATIONS},
        "sweep": {"optimizer.seed": list(SEEDS)},
    }
    pipeline.write("config/experiments/held.yaml", held)
    return pipeline


@pytest.fixture(scope="module")
def local(root, tmp_path_factory) -> Pipeline:
    """Run the same config without a cluster."""
    pipeline = small_pipeline(root, tmp_path_factory.mktemp("local"))
    pipeline.run(*ENDS, optimization(0))
    return pipeline


@pytest.fixture(scope="module")
def remote(root, tmp_path_factory) -> Pipeline:
    return small_pipeline(root, tmp_path_factory.mktemp("remote"))


def optimization(seed: int) -> str:
    return f"results/held/seed={seed}/optimization/parameters.safetensors"


def optimize_log(pipeline: Pipeline, seed: int) -> str:
    file = pipeline.folder / f"results/logs/held/seed={seed}/optimize.log"
    return file.read_text() if file.exists() else ""


def finish(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, output[-3000:] + errors[-3000:]


def check_equal(folder: Path, expected: Path, *names: str) -> None:
    for name in names:
        found, wanted = (load_tensors(f / name)[0] for f in (folder, expected))
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            scale = float(value.abs().max()) if value.is_floating_point() else 1.0
            torch.testing.assert_close(found[key], value, rtol=0, atol=TOLERANCE * scale)


def test_jobs_run_there_and_give_what_they_give_here(cluster, remote, local):
    finish(remote.start(*PROFILE, *ENDS, environment=cluster.environment), 900)
    jobs = cluster.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["NodeList"] for job in jobs} == {"n1", "n2"}
    assert len(jobs) == 5
    here, there = (p.folder / "results/flair_ti" for p in (local, remote))
    check_equal(
        there,
        here,
        "optimization/parameters.safetensors",
        "start/image_tight.safetensors",
        "optimized/image_tight.safetensors",
    )
    scans = [pd.read_csv(folder / "scan.csv") for folder in (there, here)]
    pd.testing.assert_frame_equal(*scans, rtol=TOLERANCE)


def test_jobs_that_slurm_kills_go_on_from_their_checkpoints(cluster, remote, local):
    before = {job["JobId"] for job in cluster.jobs()}

    def new_jobs() -> list[dict[str, str]]:
        return [job for job in cluster.jobs() if job["JobId"] not in before]

    def on_the_way(seed: int) -> bool:
        # A second each: the checkpoint of every 10 s has been written since iteration 5
        return "iteration 20 of" in optimize_log(remote, seed)

    (remote.folder / "hold").touch()
    process = remote.start(*PROFILE, *map(optimization, SEEDS), environment=cluster.environment)
    try:
        wait(lambda: all(map(on_the_way, SEEDS)), 600, "all three are on their way")
        running = [job for job in new_jobs() if job["JobState"] == "RUNNING"]
        nodes = [job["NodeList"] for job in running]
        lonely = next(job for job in running if nodes.count(job["NodeList"]) == 1)
        cancelled, too_long = (job for job in running if job is not lonely)
        cluster.ask("scancel", cancelled["JobId"])
        cluster.ask("scontrol", "update", f"JobId={too_long['JobId']}", "TimeLimit=1")
        cluster.stop_node(lonely["NodeList"])
        ends = {
            cancelled["JobId"]: "CANCELLED",
            too_long["JobId"]: "TIMEOUT",
            lonely["JobId"]: "NODE_FAIL",
        }

        def killed() -> bool:
            states = {job["JobId"]: job["JobState"] for job in new_jobs()}
            return all(states[job] == end for job, end in ends.items())

        wait(killed, 180, "all three are killed")
        (remote.folder / "hold").unlink()
        finish(process, 600)
    finally:
        process.kill()
    optimizing = [job for job in new_jobs() if "optimize" in job["Comment"]]
    again = [job["JobState"] for job in optimizing if job["JobId"] not in ends]
    assert again == ["COMPLETED"] * len(SEEDS)
    for seed in SEEDS:
        (iteration,) = re.findall(r"going on at iteration (\d+)", optimize_log(remote, seed))
        assert int(iteration) > 5
        folder = Path(optimization(seed)).parent
        assert len(pd.read_csv(remote.folder / folder / "history.csv")) == ITERATIONS + 1
        check_equal(
            remote.folder / folder,
            local.folder / Path(optimization(0)).parent,
            "parameters.safetensors",
        )
    assert list(remote.folder.glob("results/checkpoints/*")) == []


def test_nothing_is_left_running(cluster):
    cluster.stop()
    assert cluster.processes() == []

"""The pipeline on a real Slurm: two nodes that are this machine."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from pulseq_zero.files.store import load_tensors
from support.cluster import Cluster, missing, wait
from support.pipeline_copy import Pipeline

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

PROFILE = (
    "--workflow-profile",
    "workflow/profiles/slurm",
    "--latency-wait",
    "10",
    "--slurm-init-seconds-before-status-checks",
    "1",
)
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
            time.sleep(5)
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
    config["simulation"].update(accuracy=1e-2, tight_accuracy=1e-3, tight_change=2e-2)
    pipeline.write("config/config.yaml", config)
    pipeline.edit(
        "config/experiments/flair_ti.yaml",
        optimizer={"iterations": 8, "verify_every": 4},
        scan={
            **{"first": 2.6, "last": 3.2, "count": 7},
            "variants": {
                **{"first": 2.4, "last": 3.4, "count": 6},
                "changes": {
                    "CSF alone": {
                        **{f"phantom.tissues.{name}.PD": 0 for name in ("gm", "wm", "scalp")},
                        "loss.settings.bright": None,
                    }
                },
            },
        },
        loss={"settings": {"dark": "csf", "bright": "brain", "share": 0.5}},
    )
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


@dataclass(frozen=True)
class Runs:
    """The same pipeline here and on the cluster, where Slurm killed some of its jobs.

    Attributes
    ----------
    local, remote
        The pipelines.
    jobs
        Everything that Slurm knew of all jobs at the end.
    killed
        The states that jobs were to be killed in, by the jobs' ids.
    """

    local: Pipeline
    remote: Pipeline
    jobs: list[dict[str, str]]
    killed: dict[str, str]


@pytest.fixture(scope="module")
def runs(root, cluster, tmp_path_factory) -> Runs:
    """Run both at once: while jobs are waited for, the other has the processors."""
    local, remote = (small_pipeline(root, tmp_path_factory.mktemp(n)) for n in ("local", "remote"))
    (remote.folder / "hold").touch()
    held = map(optimization, SEEDS)
    there = remote.start(*PROFILE, *ENDS, *held, environment=cluster.environment)
    here = local.start("--cores", "2", *ENDS, optimization(0))

    def on_the_way() -> bool:
        checkpoints = list(remote.folder.glob("results/checkpoints/held_*"))
        others = all((remote.folder / end).exists() for end in ENDS)
        running = [job for job in cluster.jobs() if job["JobState"] == "RUNNING"]
        return others and len(checkpoints) == len(running) == len(SEEDS)

    def gone() -> bool:
        states = {job["JobId"]: job["JobState"] for job in cluster.jobs()}
        return all(states[job] == end for job, end in killed.items())

    # What they say has to be read meanwhile, or they wait for that
    with ThreadPoolExecutor() as readers:
        ends = [readers.submit(finish, process) for process in (here, there)]
        try:
            wait(on_the_way, 1800, "all but three jobs have ended, and these have checkpoints")
            killed = kill_three(cluster)
            wait(gone, 600, "all three are killed")
            (remote.folder / "hold").unlink()
            for end in ends:
                end.result()
        finally:
            for process in filter(lambda each: each.poll() is None, (here, there)):
                for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                    child.kill()
    return Runs(local, remote, cluster.jobs(), killed)


def kill_three(cluster: Cluster) -> dict[str, str]:
    """Let Slurm kill the three jobs that run, each in another way, and say in which state."""
    running = [job for job in cluster.jobs() if job["JobState"] == "RUNNING"]
    nodes = [job["NodeList"] for job in running]
    lonely = next(job for job in running if nodes.count(job["NodeList"]) == 1)
    cancelled, too_long = (job for job in running if job is not lonely)
    cluster.ask("scancel", cancelled["JobId"])
    cluster.ask("scontrol", "update", f"JobId={too_long['JobId']}", "TimeLimit=1")
    cluster.stop_node(lonely["NodeList"])
    return {
        cancelled["JobId"]: "CANCELLED",
        too_long["JobId"]: "TIMEOUT",
        lonely["JobId"]: "NODE_FAIL",
    }


def optimization(seed: int) -> str:
    return f"results/held/seed={seed}/optimization/parameters.safetensors"


def finish(process: subprocess.Popen[str]) -> None:
    output, errors = process.communicate(timeout=3600)
    assert process.returncode == 0, output[-3000:] + errors[-3000:]


def check_equal(found: Path, expected: Path) -> None:
    here, there = (load_tensors(file)[0] for file in (expected, found))
    assert there.keys() == here.keys()
    for key, value in here.items():
        scale = float(value.abs().max()) if value.is_floating_point() else 1.0
        torch.testing.assert_close(there[key], value, rtol=0, atol=TOLERANCE * scale)


def test_all_jobs_ran_on_the_cluster_and_completed(runs):
    left = [job for job in runs.jobs if job["JobId"] not in runs.killed]
    assert {job["JobState"] for job in left} == {"COMPLETED"}
    assert {job["NodeList"] for job in left} == {"n1", "n2"}
    # The phantom, the start of the one experiment, its optimization and scan; the start that the
    # three runs share, and these
    assert len(left) == 5 + len(SEEDS)


def test_the_results_are_those_of_the_local_run(runs):
    there, here = (p.folder / "results/flair_ti" for p in (runs.remote, runs.local))
    for name in ("optimization/parameters", "start/image_tight", "optimized/image_tight"):
        check_equal(there / f"{name}.safetensors", here / f"{name}.safetensors")
    scans = [pd.read_csv(folder / "scan.csv") for folder in (there, here)]
    pd.testing.assert_frame_equal(*scans, rtol=TOLERANCE)


def test_jobs_that_slurm_killed_went_on_from_their_checkpoints(runs):
    states = {job["JobId"]: job["JobState"] for job in runs.jobs}
    assert {job: states[job] for job in runs.killed} == runs.killed
    for seed in SEEDS:
        log = (runs.remote.folder / f"results/logs/held/seed={seed}/optimize.log").read_text()
        (iteration,) = re.findall(r"going on at iteration (\d+)", log)
        assert int(iteration) > 0
        found = runs.remote.folder / optimization(seed)
        assert len(pd.read_csv(found.parent / "history.csv")) == ITERATIONS + 1
        # The loss draws no random numbers: all seeds find the same
        check_equal(found, runs.local.folder / optimization(0))
    assert list(runs.remote.folder.glob("results/checkpoints/*")) == []


def test_nothing_is_left_running(cluster):
    cluster.stop()
    assert cluster.processes() == []

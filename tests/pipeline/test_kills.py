"""The small pipeline, killed at random moments: the same command goes on, to the same bytes."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pulseq_zero.files.store import load_table, load_tensors
from support.pipeline_copy import Pipeline

pytestmark = pytest.mark.kills

SEED = 1
# So many fit on two cores that have nothing else to do; where others compute, fewer
KILLS = 50
# Of kills, between runs that are none: with these, a quarter of an hour
SECONDS = 10 * 60

# How many jobs there are, about, and before how many of a run it is killed
JOBS, FEW_JOBS = 12, 3

# Of what is temporary
PLACES = {"TMPDIR": "temporary", "XDG_CACHE_HOME": "cache"}

LOSS = """
def darker(context):
    return lambda parameters, image: image.abs().mean()
"""


@pytest.fixture
def pipeline(root, tmp_path) -> Pipeline:
    pipeline = Pipeline(root, tmp_path)
    config = pipeline.read("config/config.yaml")
    config["experiments"] = ["own"]
    config["phantom"]["matrix"] = 24
    del config["other_phantoms"]
    config["simulation"].update(accuracy=1e-2, tight_accuracy=1e-3, tight_change=0.5)
    judged = {"tolerance": 0.2, "full_tolerance": 0.5, "largest": 64, "full_accuracy": 1e-3}
    config["validation"].update(judged)
    pipeline.write("config/config.yaml", config)
    (pipeline.folder / "losses/mine.py").write_text(LOSS)
    own = {
        "title": "An optimization that goes on",
        "sequence": {"function": "sequences/epi_ir.py:epi_ir", "arguments": {"TI": 2.5}},
        "parameters": {"flip_angle": {"start": 1.2, "learning_rate": 0.02, "unit": "rad"}},
        "loss": {"function": "losses/mine.py:darker"},
        "optimizer": {"iterations": 40, "verify_every": 10},
    }
    pipeline.write("config/experiments/own.yaml", own)
    settings = pipeline.folder / "src/pulseq_zero/optimization/settings.py"
    text, often = settings.read_text(), "checkpoint_seconds: float = 0.5"
    settings.write_text(text.replace("checkpoint_seconds: float = 10.0", often))
    assert often in settings.read_text()
    return pipeline


def test_after_every_kill_the_same_command_goes_on_to_the_same_bytes(pipeline):
    # A shell lets what it starts in the background ignore Ctrl-C, and so do these their programs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # This one compiles, those after it take what numba has kept
    finish(start(pipeline), pipeline)
    expected = contents(pipeline)
    shutil.rmtree(pipeline.folder / "results")
    begun = time.monotonic()
    finish(start(pipeline), pipeline)
    whole = time.monotonic() - begun
    assert contents(pipeline) == expected
    shutil.rmtree(pipeline.folder / "results")
    chance = random.Random(SEED)
    kills: list[str] = []
    end = time.monotonic() + SECONDS
    while len(kills) < KILLS and time.monotonic() < end:
        run = start(pipeline)
        wait_for_jobs(run, pipeline, chance.randrange(FEW_JOBS))
        try:
            run.wait(chance.uniform(0, whole / JOBS))
        except subprocess.TimeoutExpired:
            kills.append(kill(run, pipeline, chance))
            print(f"{len(kills)}: {kills[-1]}", flush=True)
            continue
        finish(run, pipeline)
        assert contents(pipeline) == expected
        shutil.rmtree(pipeline.folder / "results")
    finish(start(pipeline), pipeline)
    assert contents(pipeline) == expected
    print(f"{len(kills)} of {KILLS} kills survived")
    assert kills


def start(pipeline: Pipeline) -> subprocess.Popen[str]:
    """Run all, with folders of its own for what is temporary, and a group as in a terminal."""
    environment = {name: str(pipeline.folder / place) for name, place in PLACES.items()}
    for place in environment.values():
        Path(place).mkdir(exist_ok=True)
    with (pipeline.folder / "said.log").open("w") as said:
        return pipeline.start(
            *("--cores", "2"),
            environment={**os.environ, **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_jobs(run: subprocess.Popen[str], pipeline: Pipeline, count: int) -> None:
    """Wait until so many jobs have begun, or the run has ended."""
    said = pipeline.folder / "said.log"
    while (
        run.poll() is None
        and len(re.findall(r"^(?:local)?rule \w+:$", said.read_text(), re.M)) < count
    ):
        time.sleep(0.1)


def finish(run: subprocess.Popen[str], pipeline: Pipeline) -> None:
    """Wait for a run that has to succeed, and that leaves nothing behind."""
    assert run.wait(900) == 0, (pipeline.folder / "said.log").read_text()[-3000:]
    assert pipeline.left_behind() == []
    assert list((pipeline.folder / "temporary").iterdir()) == []
    assert list((pipeline.folder / "cache").rglob("snakemake-runtime-cache/*")) == []


def kill(run: subprocess.Popen[str], pipeline: Pipeline, chance: random.Random) -> str:
    """Kill Snakemake or one of its jobs, wait until all have ended, and say what was done."""
    has_begun = any((pipeline.folder / ".snakemake/runs").glob("*/lock"))
    jobs = psutil.Process(run.pid).children(recursive=True)
    with_signal = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    job = chance.choice(jobs) if jobs and chance.random() < 0.4 else None
    if job is not None:
        with suppress(psutil.NoSuchProcess):
            job.send_signal(with_signal)
    elif with_signal == signal.SIGINT:
        # Ctrl-C reaches all
        os.killpg(run.pid, with_signal)
    else:
        run.send_signal(with_signal)
    # What is not killed at once ends its jobs, or waits for them
    run.wait(900)
    assert psutil.wait_procs(jobs, timeout=60)[1] == []
    if not has_begun:
        # What Snakemake makes before it reads the Snakefile, nobody can take note of
        for place in PLACES.values():
            shutil.rmtree(pipeline.folder / place)
    return f"{with_signal.name} to {'Snakemake' if job is None else 'a job'}, {len(jobs)} running"


def contents(pipeline: Pipeline) -> dict[str, Any]:
    """All results without times that were measured; the report has more of these than numbers."""
    results = pipeline.folder / "results"
    found: dict[str, Any] = {}
    for file in filter(Path.is_file, results.rglob("*")):
        name = file.relative_to(results)
        if name.parts[0] in ("logs", "benchmarks", "report.html") or name.name.startswith("."):
            continue
        if name.suffix == ".json":
            found[str(name)] = re.sub(r'"\w*seconds\w*": [^,\n]+', "", file.read_text())
        elif name.name == "history.csv":
            found[str(name)] = load_table(file).drop(columns="seconds").to_csv()
        elif name.suffix == ".safetensors":
            tensors, about = load_tensors(file)
            values = {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}
            found[str(name)] = values, {key: about[key] for key in about if "seconds" not in key}
        else:
            found[str(name)] = file.read_bytes()
    assert found
    return found

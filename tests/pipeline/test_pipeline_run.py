"""One run lives in a folder; what a killed one leaves is cleared up, and its jobs end with it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

BEGIN = """
import sys
from pathlib import Path
from pipeline_run import begin_run

print("cleared" if begin_run(sys.argv[1:]) else "begun", flush=True)
"""
# Ends when its input does
RUN = BEGIN + "sys.stdin.read()\n"
JOB = """
import subprocess, sys, tempfile, time
from pipeline_run import end_with_run

end_with_run()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(1)  # until it surely waits for the lock
print(tempfile.mkdtemp(), flush=True)
time.sleep(600)
"""
# A run that has a job, and says where the job's temporary folder is
WITH_JOB = (
    BEGIN
    + f"""
import subprocess
subprocess.run([sys.executable, "-c", {JOB!r}])
"""
)

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start(root, tmp_path):
    """Start programs in one folder, and kill those that still live at the end."""
    started: list[subprocess.Popen] = []
    environment = {**os.environ, "PYTHONPATH": str(root / "workflow/scripts")}
    environment.pop("PULSEQ_ZERO_RUN", None)

    def start(program: str, *arguments: str, **variables: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env={**environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # With what it has started, which may outlive it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def snakemakes(tmp_path) -> list[Path]:
    """Files that Snakemake leaves when it is killed."""
    files = [
        tmp_path / ".snakemake/locks/0.input.lock", tmp_path / ".snakemake/scripts/tmp1.step.py"
    ]  # fmt: skip
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("results/a\n")
    return files


def begun(run: subprocess.Popen) -> subprocess.Popen:
    assert run.stdout.readline() == "begun\n"
    return run


def kill(run: subprocess.Popen) -> None:
    run.kill()
    run.wait()


def test_what_a_killed_run_has_left_is_cleared_up(start, tmp_path, snakemakes):
    outside = tmp_path / "outside"
    outside.mkdir()
    kill(begun(start(RUN, str(outside))))
    output, said = start(BEGIN).communicate(timeout=60)
    assert output == "cleared\n"
    assert said == "The run before was killed: this one goes on where it was\n"
    assert not outside.exists()
    assert not any(file.exists() for file in snakemakes)
    assert [file.name for file in (tmp_path / ".snakemake/runs").iterdir()] == ["lock"]


@pytest.mark.parametrize("end", ["alone", "after another one was killed"])
def test_a_run_that_lives_is_left_alone(start, snakemakes, end):
    alive = begun(start(RUN))
    if end == "after another one was killed":
        kill(begun(start(RUN)))
    output, said = start(BEGIN).communicate(timeout=60)
    assert (output, said) == ("begun\n", "")
    assert all(file.exists() for file in snakemakes)
    assert alive.poll() is None


def test_a_run_that_ends_leaves_nothing_to_clear_up(start, tmp_path, snakemakes):
    for _ in range(2):
        assert start(BEGIN).communicate(timeout=60) == ("begun\n", "")
    assert all(file.exists() for file in snakemakes)
    assert [file.name for file in (tmp_path / ".snakemake/runs").iterdir()] == ["lock"]


def test_a_job_ends_with_its_run(start, tmp_path):
    run = begun(start(WITH_JOB))
    temporary = Path(run.stdout.readline().strip())
    assert temporary.is_relative_to(tmp_path / ".snakemake/runs")
    jobs = psutil.Process(run.pid).children(recursive=True)
    assert len(jobs) == 2
    kill(run)
    assert psutil.wait_procs(jobs, timeout=60)[1] == []
    assert start(BEGIN).communicate(timeout=60)[0] == "cleared\n"
    assert not temporary.exists()


def test_the_next_run_waits_for_the_jobs_of_a_killed_one(start, tmp_path, snakemakes):
    run = begun(start(RUN))
    (lock,) = (tmp_path / ".snakemake/runs").glob("*/lock")
    kill(run)
    with lock.open() as job:
        # As a job does that has not ended yet
        fcntl.flock(job, fcntl.LOCK_SH)
        then = start(BEGIN)
        assert then.stderr.readline().startswith("The run before was killed")
        assert then.stderr.readline() == "Waiting for the jobs of a killed run to end\n"
        assert all(file.exists() for file in snakemakes)
    assert then.communicate(timeout=60)[0] == "cleared\n"
    assert not any(file.exists() for file in snakemakes)


def test_a_run_that_is_killed_while_it_waits_leaves_nothing_either(start, tmp_path):
    kill(begun(start(RUN)))
    (lock,) = (tmp_path / ".snakemake/runs").glob("*/lock")
    outside = tmp_path / "outside"
    outside.mkdir()
    with lock.open() as job:
        fcntl.flock(job, fcntl.LOCK_SH)
        waits = start(RUN, str(outside))
        waits.stderr.readline()
        assert waits.stderr.readline() == "Waiting for the jobs of a killed run to end\n"
        kill(waits)
    assert start(BEGIN).communicate(timeout=60)[0] == "cleared\n"
    assert not outside.exists()
    assert [file.name for file in (tmp_path / ".snakemake/runs").iterdir()] == ["lock"]


def test_a_job_whose_run_has_ended_does_not_begin(start, tmp_path):
    gone = tmp_path / f"{socket.gethostname()}-gone"
    job = start(JOB, PULSEQ_ZERO_RUN=str(gone))
    assert job.communicate(timeout=60) == ("", "the run that this job belongs to has ended\n")
    assert job.returncode == 1


def test_a_job_on_another_machine_is_its_schedulers(start, tmp_path):
    job = start(JOB, PULSEQ_ZERO_RUN=str(tmp_path / "elsewhere-1"))
    assert not Path(job.stdout.readline().strip()).is_relative_to(tmp_path)


def test_a_run_of_another_machine_is_named_with_the_commands_that_free_the_folder(
    start, tmp_path, snakemakes
):
    other = tmp_path / ".snakemake/runs/node-7-abc"
    other.mkdir(parents=True)
    output, said = start(BEGIN).communicate(timeout=60)
    assert output == "begun\n"
    assert said == (
        "Note: a run on node-7 was the last to work here, or still does; if it has ended, free "
        "the folder: snakemake --unlock && rm -r .snakemake/runs/node-7-abc\n"
    )
    assert all(file.exists() for file in snakemakes)


def test_jobs_on_a_cluster_that_outlive_their_run_are_named(start, tmp_path, snakemakes):
    run = begun(start(RUN))
    incomplete = tmp_path / ".snakemake/incomplete"
    incomplete.mkdir()
    for number, job in enumerate(["12", "13", None]):
        (incomplete / f"{number}").write_text(json.dumps({"external_jobid": job}))
    kill(run)
    output, said = start(BEGIN).communicate(timeout=60)
    assert output == "begun\n"
    assert said.startswith("Note: the run before was killed, but not its jobs on the cluster;")
    assert "scancel 12 13), then free the folder: snakemake --unlock\n" in said
    assert all(file.exists() for file in snakemakes)

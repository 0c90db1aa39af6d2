"""Runs of the pipeline in a folder: which one lives, and what killed ones have left.

A run locks a file for as long as it lives. The system takes that lock from a process however it
ends, and gives it to the jobs that wait for it, which then end, too. Until the last of them has
ended, the next run waits.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import psutil

try:
    import fcntl
except ImportError:  # Windows: Snakemake's own lock decides
    fcntl = None

SNAKEMAKE = Path(".snakemake")
RUNS = SNAKEMAKE / "runs"
VARIABLE = "PULSEQ_ZERO_RUN"


def begin_run(folders: Iterable[Path | str]) -> bool:
    """Make this process a run, after clearing up behind killed ones if no run lives.

    Parameters
    ----------
    folders
        Folders outside of the project that are this process's alone.

    Returns
    -------
    bool
        Whether a run was killed: what it has left in the results is nobody's any more.
    """
    if VARIABLE in os.environ:
        # Snakemake in a job, which ends with its run
        with Path(os.environ[VARIABLE], "lock").open("a", encoding="utf-8") as own:
            _write(own, folders)
        return False
    guard = _locked(RUNS / "lock")
    if guard is None:
        return False
    with guard:
        folder = tempfile.mkdtemp(prefix=f"{socket.gethostname()}-", dir=RUNS.resolve())
        own = _locked(Path(folder, "lock"))
        atexit.register(_end, folder, own)
        # Before it waits for jobs of others: it may be killed there
        _write(own, folders)
        has_cleared = _clear_up(Path(folder))
    os.environ[VARIABLE] = folder
    return has_cleared


def _write(own: IO, folders: Iterable[Path | str]) -> None:
    own.writelines(f"{folder}\n" for folder in folders)
    own.flush()


def _end(folder: str, own: IO) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    own.close()


def end_with_run() -> None:
    """Let this job end when its run does, however that ends; temporary files are the run's.

    On another machine than the run's, the scheduler ends it.
    """
    folder = os.environ.get(VARIABLE)
    if folder is None or not _is_of_here(Path(folder)):
        return
    try:
        lock = os.open(Path(folder, "lock"), os.O_RDONLY)
    except FileNotFoundError:
        sys.exit("the run that this job belongs to has ended")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    threading.Thread(target=_end_after, args=(lock,), daemon=True).start()


def _end_after(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_SH)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def _clear_up(own: Path) -> bool:
    with ExitStack() as opened:
        killed = []
        others = (folder for folder in RUNS.iterdir() if folder.is_dir())
        for folder in sorted(folder for folder in others if folder.name != own.name):
            if not _is_of_here(folder):
                # Locks of other machines are not seen on all file systems
                host = folder.name.rpartition("-")[0]
                _say_if_locked(
                    f"a run on {host} was the last to work here, or still does; if it has ended, "
                    f"free the folder: snakemake --unlock && rm -r {folder}"
                )
                return False
            lock = opened.enter_context((folder / "lock").open("a+", encoding="utf-8"))
            if _is_locked(lock):
                return False
            killed.append(lock)
        if not killed:
            return False
        submitted = sorted(_submitted())
        if submitted:
            _say_if_locked(
                "the run before was killed, but not its jobs on the cluster; cancel them (with "
                f"Slurm: scancel {' '.join(submitted)}), then free the folder: snakemake --unlock"
            )
            return False
        print("The run before was killed: this one goes on where it was", file=sys.stderr)
        for lock in killed:
            _wait_for_jobs(lock)
        for name in ("locks", "scripts"):
            shutil.rmtree(SNAKEMAKE / name, ignore_errors=True)
        for lock in killed:
            lock.seek(0)
            for folder in [*lock.read().splitlines(), Path(lock.name).parent]:
                shutil.rmtree(folder, ignore_errors=True)
        return True


def _locked(path: Path) -> IO | None:
    """Open and lock a file; none where there are no locks."""
    if fcntl is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        file.close()
        return None
    return file


def _is_locked(lock: IO) -> bool:
    """Whether the run of this lock lives: jobs that outlive one share it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _wait_for_jobs(lock: IO) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for the jobs of a killed run to end", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_of_here(folder: Path) -> bool:
    return folder.name.rpartition("-")[0] == socket.gethostname()


def _submitted() -> set[str]:
    """Jobs that were given to a scheduler, and whose results Snakemake waits for."""
    found = set()
    for file in (SNAKEMAKE / "incomplete").rglob("*"):
        if file.is_file():
            with suppress(ValueError):
                found.add(json.loads(file.read_text(encoding="utf-8")).get("external_jobid"))
    return set(map(str, found - {None}))


def _say_if_locked(sentence: str) -> None:
    if list((SNAKEMAKE / "locks").glob("*")):
        print(f"Note: {sentence}", file=sys.stderr)

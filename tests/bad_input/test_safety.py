"""Full disks, unwritable folders, files that would run code, runs that would meet."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from pulseq_zero.errors import StoreError
from pulseq_zero.files.logs import logged
from pulseq_zero.files.store import save_json, save_table, save_tensors
from pulseq_zero.optimization.checkpoints import save_checkpoint
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.phantom import Phantom, TissuePool
from support.pipeline_copy import Pipeline
from support.toy import inversion_recovery, one_voxel, signal_loss

SOURCE = Path(__file__).parents[2]

WRITERS = {
    "tensors": lambda path: save_tensors(path, {"a": torch.ones(3)}),
    "json": lambda path: save_json(path, {"a": 1}),
    "csv": lambda path: save_table(path.with_suffix(".csv"), pd.DataFrame({"a": [1]})),
    "checkpoint": lambda path: save_checkpoint(path, {"a": torch.ones(3)}, "x"),
    "phantom": lambda path: tiny().save(path),
    "nifti": lambda path: tiny().save_nifti(path.parent),
}


def tiny() -> Phantom:
    ones = torch.ones(16, 16)
    return Phantom(
        pools={"a": TissuePool.of(PD=ones, T1=1.0, T2=0.1, T2dash=0.1, D=1.0)},
        masks={},
        fov=(0.2, 0.2),
        slice_thickness=0.005,
        origin={},
    )


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk(tmp_path, monkeypatch, writer):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
        WRITERS[writer](tmp_path / "file.a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_disk_that_fills_up_while_writing(tmp_path, monkeypatch):
    """The temporary file stands on a device without space: the error comes from the system."""
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: write_to("/dev/full", content))
    with pytest.raises(StoreError, match="No space left on device"):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})
    assert list(tmp_path.iterdir()) == []


def write_to(path, content):
    with open(path, "wb") as file:  # noqa: PTH123 - Path.write_bytes is what the test replaces
        file.write(content)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_cannot_be_made(tmp_path, writer):
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="check the folder, its permissions and the space left"):
        WRITERS[writer](tmp_path / "results/file.a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_without_permission(tmp_path, writer):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        WRITERS[writer](folder / "file.a")


def test_an_optimization_whose_checkpoint_cannot_be_written(tmp_path):
    (tmp_path / "results").write_text("")
    settings = {"iterations": 2, "progress": False, "checkpoint_seconds": 0.0}
    with pytest.raises(StoreError, match=r"results/c\.safetensors cannot be written"):
        optimize(
            inversion_recovery,
            signal_loss,
            {"TI": 1.0},
            one_voxel(),
            checkpoint=tmp_path / "results/c.safetensors",
            **settings,
        )


def test_a_log_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "logs").write_text("")
    with pytest.raises(SystemExit), logged(tmp_path / "logs/a.log"):
        pass
    assert re.fullmatch(
        r"StoreError: \S+a\.log cannot be written \(.+\)\n", capsys.readouterr().err
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_log_on_a_full_disk(capsys):
    with pytest.raises(SystemExit), logged("/dev/full"):
        raise StoreError("a.json cannot be written (No space left on device)")
    said = "StoreError: a.json cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == said


# Calls that run code of a file, or may
FORBIDDEN = {
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "dill.load",
    "pd.read_pickle",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
}


@pytest.mark.parametrize("folder", ["src", "workflow", "sequences"])
def test_nothing_is_read_that_could_run_code(folder):
    files = sorted((SOURCE / folder).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in FORBIDDEN, f"{file}:{node.lineno}"
                for keyword in node.keywords:
                    assert keyword.arg != "allow_pickle", f"{file}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.partition(".")[0] for alias in node.names}
                assert not names & {"pickle", "dill", "joblib", "shelve"}, f"{file}:{node.lineno}"


@pytest.mark.pipeline
def test_two_pipelines_in_one_folder(tmp_path):
    """The second one stops by the first one's lock, and says how to go on."""
    (tmp_path / "Snakefile").write_text(
        "rule slow:\n    output: 'a'\n    shell: 'touch started; sleep 60; touch {output}'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = 300
        while not (tmp_path / "started").exists() and deadline:
            deadline -= 1
            try:
                first.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        os.killpg(first.pid, 9)
        first.communicate()
    assert second.returncode != 0
    assert "cannot be locked" in second.stderr


@pytest.mark.pipeline
def test_a_folder_with_a_brace_in_its_name(tmp_path):
    pipeline = Pipeline(SOURCE, tmp_path / "a{b}")
    done = pipeline.run(check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert (
        f"{pipeline.folder} has a brace in its name, which Snakemake takes for a w" in done.stderr
    )

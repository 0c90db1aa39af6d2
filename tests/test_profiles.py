"""The profiles: each entry explained, and what a PBS job's end is taken for."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "workflow/profiles"
PROFILES = sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def test_there_are_those_that_the_docs_name(root):
    assert PROFILES == ["cluster-generic", "default", "slurm"]
    docs = (root / "docs/cluster.md").read_text(encoding="utf-8")
    assert set(re.findall(r"workflow/profiles/([\w-]+)", docs)) == set(PROFILES)


def test_plain_snakemake_finds_the_default_one(root):
    # It looks for profiles/default beside the Snakefile
    link = root / "profiles"
    if link.is_file():
        pytest.skip("this checkout has files instead of symbolic links")
    assert (link / "default/config.yaml").samefile(FOLDER / "default/config.yaml")


@pytest.mark.parametrize("name", PROFILES)
def test_every_entry_has_a_comment(name):
    text = (FOLDER / name / "config.yaml").read_text(encoding="utf-8")
    explained = re.findall(r"^ *#.*\n(?: *#.*\n)* *([\w-]+):", text, re.M)
    assert set(explained) >= set(yaml.safe_load(text))


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_kill_has_left_half_made_is_made_anew(name):
    profile = yaml.safe_load((FOLDER / name / "config.yaml").read_text(encoding="utf-8"))
    assert profile["rerun-incomplete"] is True


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("    job_state = Q\n", 0, "running"),
        ("    job_state = R\n", 0, "running"),
        ("    job_state = E\n", 0, "running"),
        # PBS, then Torque
        ("    job_state = F\n    Exit_status = 0\n", 0, "success"),
        ("    job_state = C\n    exit_status = 0\n", 0, "success"),
        # Ended by a signal; by the time limit; deleted before it ran
        ("    job_state = F\n    Exit_status = 265\n", 0, "failed"),
        ("    job_state = C\n    exit_status = -11\n", 0, "failed"),
        ("    job_state = F\n", 0, "failed"),
        # Unknown to the server; the server does not answer
        ("", 153, "failed"),
        ("", 111, "running"),
    ],
)
@pytest.mark.parametrize("torque", [False, True])
def test_what_has_become_of_a_pbs_job(tmp_path, said, code, expected, torque):
    (tmp_path / "answer").write_text(f"Job Id: 7.server\n{said}" if said else "")
    # Torque takes -x for XML
    xml = '[ "$2" = -x ] && exec echo "<Data></Data>"' if torque and said else ""
    (tmp_path / "qstat").write_text(f"#!/bin/sh\n{xml}\ncat {tmp_path}/answer\nexit {code}\n")
    (tmp_path / "qstat").chmod(0o755)
    done = subprocess.run(
        ["sh", FOLDER / "cluster-generic/pbs-status.sh", "7.server"],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{expected}\n"

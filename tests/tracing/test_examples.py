"""PyPulseq's own examples, from its last source distribution that has them, inside of tracing."""

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import pulseq_zero
from pulseq_zero.conversion import convert
from pulseq_zero.files.seq import read_seq
from pulseq_zero.judge.course import course_of
from pulseq_zero.judge.seq import read_course
from support.bloch import apart, signal_of

pytestmark = pytest.mark.network

SOURCE = "pypulseq==1.4.2"
EXAMPLES = [
    "write_epi",
    "write_epi_label",
    "write_epi_se",
    "write_epi_se_rs",
    "write_gre",
    "write_gre_label",
    "write_haste",
    "write_radial_gre",
    "write_tse",
    "write_ute",
]
# Its fat saturation is off resonance: no rotation of all spins alike.
MORE_THAN_ROTATIONS = {"write_epi_se_rs"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples lie."""
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, "-m", "pip", "download", SOURCE, "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--no-binary", ":all:", "-d", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the package index is not reachable: {done.stderr.strip()[-200:]}")
    (source,) = folder.glob("pypulseq-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (scripts,) = folder.glob("pypulseq-*/pypulseq/seq_examples/scripts")
    return scripts


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_the_same_inside(name, folder, tmp_path, monkeypatch):
    specification = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)
    script.main(plot=False, write_seq=True, seq_filename="plain.seq")
    with pulseq_zero.tracing(on_loss="raise"):
        script.main(plot=False, write_seq=True, seq_filename="traced.seq")
    assert Path("plain.seq").read_bytes() == Path("traced.seq").read_bytes()
    if name not in MORE_THAN_ROTATIONS:
        spins = np.random.default_rng(0).uniform(-0.05, 0.05, (3, 3)) * [1, 1, 0.01]
        others = {"frequencies": np.array([0.0, 10.0, -20.0]), "T1": 1.0, "T2": 0.03}
        ours = signal_of(course_of(convert(read_seq("traced.seq"))), spins, **others)
        judged = signal_of(read_course("traced.seq", "instantaneous"), spins, **others)
        assert apart(ours, judged) < 1e-7

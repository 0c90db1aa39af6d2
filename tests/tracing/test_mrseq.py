"""The sequences of the package mrseq, from the index: the same files inside of tracing."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from pulseq_zero.tracing import trace

pytestmark = pytest.mark.network

# Without their dependencies, which are here already: PyPulseq must stay the version it is.
PACKAGES = ("mrseq==0.260810", "raw2ismrmrd")

# Fewer lines than by default, where a sequence has such an argument and allows it.
SMALL = {
    "n_phase_encoding": 32,
    "n_spokes": 8,
    "n_rpe_points": 16,
    "n_rpe_points_per_shot": 4,
    "n_rpe_spokes": 4,
    "n_dummy_excitations": 2,
    "n_pe_points_per_cardiac_cycle": 4,
}
QUIET = {"show_plots": False, "test_report": False, "timing_check": False}

SEQUENCES = [
    "epi2d_fid",
    "epi2d_se",
    "grpe_flash_dixon",
    "radial_flash",
    "spiral_flash",
    "t1_inv_rec_gre_single_line",
    "t1_inv_rec_se_single_line",
    "t1_molli_bssfp",
    "t1_t2_spiral_cmrf",
    "t1rho_se_single_line",
    "t2_multi_echo_se_single_line",
    "t2_t2prep_flash",
    "t2star_multi_echo_flash",
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Folder in which the package was put, for as long as the tests run."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "install", "--target", str(folder), "--no-deps"]
    done = subprocess.run(
        [*command, "--quiet", *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"the package index is not reachable: {done.stderr.strip()[-200:]}")
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("mrseq", "raw2ismrmrd"):
            del sys.modules[name]


def test_all_sequences_are_tested(package):
    found = {path.stem for path in (package / "mrseq/sequences").glob("[!_]*.py")}
    assert found == set(SEQUENCES)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_is_the_same_inside(name, package, tmp_path, monkeypatch):
    main = importlib.import_module(f"mrseq.sequences.{name}").main
    known = inspect.signature(main).parameters
    arguments = {key: value for key, value in (SMALL | QUIET).items() if key in known}
    monkeypatch.setenv("MPLBACKEND", "agg")
    files = []
    for folder, build in (
        ("plain", lambda: main(**arguments)),
        ("traced", lambda: trace(main, {}, arguments, on_loss="raise")),
    ):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        build()
        files.append({path.name: path.read_bytes() for path in Path().rglob("*.seq")})
    assert files[0]
    assert files[0] == files[1]

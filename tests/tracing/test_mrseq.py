"""The sequences of the package mrseq, from the index: the same files inside of tracing."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.repetitions import repetitions_from_mr0
from pulseq_zero.files.seq import read_seq
from pulseq_zero.judge.course import course_of
from pulseq_zero.judge.seq import read_course
from pulseq_zero.tracing import trace
from support.bloch import apart, signal_of

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

# MRzeroCore turns adiabatic pulses by the integral of their envelope: Bloch alone judges these.
NOT_AS_IMPORTED = {"t1_inv_rec_gre_single_line", "t1_inv_rec_se_single_line"}
# Neither PyPulseq 1.5 nor MRzeroCore reads again what PyPulseq writes of these.
NOT_READ = {
    "t1_molli_bssfp",
    "t1_t2_spiral_cmrf",
    "t2_t2prep_flash",
    "t2star_multi_echo_flash",
}

# Steps in which PyPulseq keeps shapes, in parts of their amplitude: what was added as traced is
# exact, what is read back from a plain sequence is not.
SHAPE_QUANTUM = 1e-7

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
    files, made = [], []
    for folder, build in (
        ("plain", lambda: made.append(main(**arguments)[0])),
        ("traced", lambda: made.append(trace(main, {}, arguments, on_loss="raise").sequence)),
    ):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        build()
        files.append({path.name: path.read_bytes() for path in Path().rglob("*.seq")})
    assert files[0]
    assert files[0] == files[1]
    plain, traced = map(convert, made)
    for field in ("pulse_angle", "pulse_phase", "event_time", "adc_phase"):
        torch.testing.assert_close(getattr(traced, field), getattr(plain, field))
    apart_by = (traced.gradient_moment - plain.gradient_moment).abs()
    kept_to = 0.5 * SHAPE_QUANTUM * made[0].system.max_grad * plain.event_time
    assert (apart_by <= kept_to[:, None] + 1e-9).all()
    if name not in NOT_READ:
        (path,) = Path().rglob("*.seq")
        assert_signals_agree(traced, path, name)


def assert_signals_agree(ours, path, name):
    """Compare with Bloch, and with MRzeroCore's importer where it knows the pulses.

    Single spins remember every moment: the six digits that a file has of amplitudes show.
    """
    random = np.random.default_rng(0)
    spins = random.uniform(-0.05, 0.05, (3, 3)) * [1, 1, 0]
    relaxation = {"T1": np.array([1.0, 0.4, 3.0]), "T2": np.array([0.03, 0.05, 0.02])}

    def signal(course):
        # MR-zero begins with the first pulse
        return signal_of(course, spins, **relaxation)[-int(ours.adc_usage.sum()) :]

    of_file = signal(course_of(convert(read_seq(path))))
    assert apart(of_file, signal(read_course(path, "full"))) < 1e-4
    assert apart(signal(course_of(ours)), of_file) < 5e-3
    if name not in NOT_AS_IMPORTED:
        # MRzeroCore's importer hands on phases in Pulseq's sense
        imported = repetitions_from_mr0(mr0.Sequence.import_file(str(path))).conjugate()
        assert apart(of_file, signal(course_of(imported))) < 1e-4

"""The same course gives the same signal, bit for bit: compiled now, or taken from numba's cache."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]

PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from pulseq_zero.judge import isochromat_signal
from pulseq_zero.judge.course import course_of
from support.sequences import inversion_epi, phantom, turbo_spin_echo
for make in (inversion_epi, turbo_spin_echo):
    signal = isochromat_signal(course_of(make()), phantom(8, shape="box"), 16)
    print(hashlib.sha256(signal.numpy().tobytes()).hexdigest())
"""


def test_a_process_that_compiles_finds_what_those_after_it_find(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    compiling, reading = (
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(HERE)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("kernel.simulate_voxels*.nbc"))
    assert len(compiling.splitlines()) == 2
    assert reading == compiling

"""PyPulseq's own tests, from its source distribution, run inside of the tracing context."""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version

import pytest

pytestmark = pytest.mark.network

PLUGIN = """
import pytest
from pulseq_zero.tracing.context import tracing_of
from pulseq_zero.tracing.tape.tape import Tape


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    with tracing_of([vars(item.module)], Tape(on_loss="raise")):
        yield
"""

# Reads a file that is not in the source distribution while it is collected.
NOT_SHIPPED = "test_calc_adc_segments.py"


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--no-deps", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the package index is not reachable: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Folder of the tests, and the environment to run them with."""
    folder = tmp_path_factory.mktemp("pypulseq")
    package = f"pypulseq=={version('pypulseq')}"
    pip("download", package, "--no-binary", ":all:", "-d", str(folder))
    # the suite uses what later versions of pytest left out
    pip("install", "pytest==8.4.2", "--target", str(folder / "pytest"))
    (source,) = folder.glob("pypulseq-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (folder / "inside_tracing.py").write_text(PLUGIN)
    (tests,) = folder.glob("pypulseq-*/tests")
    paths = os.pathsep.join([str(folder / "pytest"), str(folder)])
    return tests, {**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "agg"}


def passed(suite, *options):
    tests, environment = suite
    command = [sys.executable, "-m", "pytest", str(tests), "-rA", "-q", "-p", "no:cacheprovider"]
    command += ["--ignore", str(tests / NOT_SHIPPED), "--tb", "no", *options]
    done = subprocess.run(
        command, cwd=tests, env=environment, capture_output=True, text=True, check=False
    )
    return set(re.findall(r"^PASSED (\S.*)$", done.stdout, re.MULTILINE))


def test_what_passes_plainly_passes_inside(suite):
    plain = passed(suite)
    assert len(plain) > 1000
    assert plain - passed(suite, "-p", "inside_tracing") == set()

"""The export runs the unchanged function in a process of its own, whatever it is given."""

import sys
from pathlib import Path

import pytest

from pulseq_zero.experiments.settings import only_sections
from pulseq_zero.experiments.steps import export, trace
from pulseq_zero.files.store import load_json

ROOT = Path(__file__).parents[2]

SEQUENCE = """
from own_package.timing import TI
from support.toy import inversion_recovery

def mean(flips=(1.0,)):
    return inversion_recovery(TI, sum(flips) / len(flips))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Lay out a package with a module that imports another one of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=":")
    folder = Path("own_package")
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "timing.py").write_text("TI = 1.0\n")
    (folder / "sequences.py").write_text(SEQUENCE)
    yield
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("count", [3, 8000])
def test_a_function_of_a_package_with_many_values(package, count):
    """One argument of a command line holds no 8,000 numbers."""
    experiment = only_sections(
        {
            "sequence": {"function": "own_package.sequences:mean"},
            "sequences": {},
            "parameters": {"flips": {"start": [1 + n / 3e9 for n in range(count)]}},
            "image": {},
        }
    )
    files = sequence, traced, seq, check = [
        Path(name) for name in ("a.safetensors", "traced.seq", "a.seq", "export.json")
    ]
    trace.run(experiment, "start", sequence, traced)
    export.run(experiment, "start", ROOT / "workflow/scripts/plain_pypulseq.py", traced, seq, check)
    assert all(file.is_file() for file in files)
    assert load_json(check)["identical_to_plain_pypulseq"]

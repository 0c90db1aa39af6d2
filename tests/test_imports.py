"""Nothing is imported before it is used: what takes seconds waits until somebody needs it."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import pulseq_zero
from pulseq_zero.tracing.tape.recording import current_tape

ROOT = Path(__file__).parent.parent
HEAVY = {
    "MRzeroCore", "h5py", "ismrmrd", "jsonschema", "matplotlib", "nibabel", "nilearn", "numba",
    "numpy", "pandas", "pypulseq", "safetensors", "scipy", "skimage", "sklearn", "snakemake",
    "torch",
}  # fmt: skip
# What tensors on disk, and figures of them, need
TENSORS = {"numpy", "pandas", "safetensors", "torch"}
NUMERICS = {"numba", "numpy", "scipy", "torch"}
COMMAND = "import sys; from pulseq_zero.cli import main; main(sys.argv[1:], standalone_mode=False)"


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the heavy packages that a new interpreter has loaded after some code."""
    code += "\nimport sys\nprint('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.rpartition("loaded:")[2].split())


def test_the_package_itself_needs_nothing():
    assert not loaded("import pulseq_zero\nprint(pulseq_zero.__version__, pulseq_zero.__all__)")


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_line_speaks_of_itself_at_once(option):
    assert not loaded(COMMAND, option)


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("errors", set()),
        ("simulation", set()),
        ("files.yaml", {"jsonschema"}),
        ("files.store", TENSORS),
        ("conversion.repetitions", {"numpy", "torch"}),
        ("phantom.phantom", TENSORS),
        ("optimization.losses", TENSORS),
        ("optimization.penalties", {"numpy", "torch"}),
        ("imaging.samples", {"numpy", "torch"}),
        ("imaging.reconstruction", {"numpy", "scipy", "torch"}),
        ("imaging.metrics", {"numpy", "scipy", "skimage", "torch"}),
        ("experiments.validation", TENSORS | {"scipy", "skimage"}),
        ("experiments.sweeps", TENSORS | {"jsonschema"}),
        ("experiments.summary", TENSORS | {"jsonschema"}),
        ("simulation.simulator", NUMERICS),
        ("judge.isochromats", NUMERICS),
        ("experiments.steps.simulate", TENSORS | NUMERICS),
    ],
)
def test_a_module_imports_what_it_needs_and_no_more(module, needs):
    assert loaded(f"import pulseq_zero.{module}") <= needs


PACKAGES = ("", ".conversion", ".imaging", ".judge", ".phantom", ".simulation", ".tracing")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = import_module(f"pulseq_zero{name}")
    assert package.__all__ == sorted(package.__all__)
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute '_nothing'"):
        package._nothing  # noqa: B018


def test_other_names_are_pypulseqs():
    import pypulseq

    assert pulseq_zero.make_delay is pypulseq.make_delay
    assert "make_delay" in dir(pulseq_zero)


def test_tracing_is_a_package_and_the_context_of_its_name():
    package = import_module("pulseq_zero.tracing")
    assert isinstance(package, ModuleType)
    assert pulseq_zero.tracing is package
    assert pulseq_zero.tracing.trace is pulseq_zero.trace
    with pulseq_zero.tracing(rounding="zero", on_loss="raise") as tape:
        assert current_tape() is tape
        assert (tape.rounding, tape.on_loss) == ("zero", "raise")
    with pulseq_zero.tracing.tracing() as tape:
        assert current_tape() is tape


STEPS_OF_RULES = """
import sys
sys.path.insert(0, {folder!r})
from later import UNUSED, later

with later(*UNUSED):
    import MRzeroCore
import pypulseq as pp

assert not set(UNUSED) & set(sys.modules)
sequence = pp.Sequence()
for _ in range(20):
    sequence.add_block(pp.make_trapezoid("x", area=1000, duration=5e-3))
sequence.calculate_gradient_spectrum(plot=False)
gradient = sequence.get_gradients()[0]
assert gradient(2.5e-3) > 0
assert {{"scipy.signal", "scipy.interpolate"}} <= set(sys.modules)
"""


def test_what_steps_of_rules_do_not_use_waits_until_it_is_used():
    loaded(STEPS_OF_RULES.format(folder=str(ROOT / "workflow/scripts")))

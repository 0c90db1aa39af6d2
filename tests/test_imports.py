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
# What tensors on disk need
TENSORS = {"numpy", "safetensors", "torch"}
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
        ("imaging.metrics", {"numpy", "skimage", "torch"}),
        ("experiments.validation", TENSORS | {"skimage"}),
        ("experiments.sweeps", TENSORS | {"jsonschema", "pandas"}),
        ("experiments.summary", TENSORS | {"jsonschema", "pandas"}),
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


# As the script of all rules begins
STARTED = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow/scripts")!r})
import step
from importlib import import_module
"""
SIMULATING = {"MRzeroCore", "numba", "numpy", "pypulseq", "safetensors", "scipy", "torch"}


@pytest.mark.parametrize(
    ("step", "needs"),
    [
        ("phantom", SIMULATING - {"numba"} | {"jsonschema", "nibabel"}),
        ("stage", SIMULATING),
        ("optimize", SIMULATING | {"pandas"}),
        ("judge", SIMULATING | {"skimage"}),
        ("validate", SIMULATING | {"matplotlib", "skimage"}),
        ("validated", SIMULATING - {"numba"} | {"skimage"}),
    ],
)
def test_a_step_of_the_pipeline_imports_what_it_needs_and_no_more(step, needs):
    code = f"{STARTED}import_module('pulseq_zero.experiments.steps.{step}')"
    # The half of scipy, which takes as long as torch
    code += "\nassert not {'scipy.signal', 'scipy.stats'} & set(sys.modules)"
    assert loaded(code) <= needs


USING = """
import later
import pypulseq as pp

assert not set(later.UNUSED) & set(sys.modules)
sequence = pp.Sequence()
for _ in range(20):
    sequence.add_block(pp.make_trapezoid("x", area=1000, duration=5e-3))
sequence.calculate_gradient_spectrum(plot=False)
gradient = sequence.get_gradients()[0]
assert gradient(2.5e-3) > 0
assert {"scipy.signal", "scipy.interpolate"} <= set(sys.modules)

import matplotlib
from pypulseq.Sequence import parula
from pypulseq.utils import seq_plot

assert parula.main(3).N == 3
assert seq_plot.mpl.rcParams is matplotlib.rcParams
assert seq_plot.plt.figure is import_module("matplotlib.pyplot").figure

import MRzeroCore

written_by = MRzeroCore.sig_to_mrd
assert written_by.__call__.__self__._get() is import_module(
    "MRzeroCore.simulation.sig_to_mrd"
).sig_to_mrd
"""


def test_what_steps_of_rules_do_not_use_waits_until_it_is_used():
    loaded(STARTED + USING)


OPTIMIZING = """
import torch

from pulseq_zero import Parameter, build_phantom, optimize
from support.toy import inversion_recovery, one_voxel, signal_loss

build_phantom({"matrix": 16})
for method in ("adam", "lbfgs"):
    optimize(
        inversion_recovery, signal_loss, {"TI": Parameter(0.6, 0.02, 3.0, 0.02)}, one_voxel(),
        matrix=(8, 1), iterations=2, method=method, progress=False,
    )
assert not {"mpmath", "nilearn", "sklearn", "sympy"} & set(sys.modules)
stand_in = sys.modules["torch._dynamo"]
assert type(stand_in).__name__ == "NoCompiler"

def doubled(x):
    return 2 * x

assert torch.compile(doubled, backend="eager")(torch.ones(1)) == 2
import torch._dynamo.utils
assert "sympy" in sys.modules
assert sys.modules["torch._dynamo"] is torch._dynamo is not stand_in
optimizer = torch.optim.Adam([torch.zeros(1)])
left = torch.optim.Optimizer.add_param_group.__wrapped__
assert getattr(left, "__dynamo_disable") is not left
"""


def test_an_optimization_leaves_what_compiles_alone_until_somebody_compiles():
    loaded(STARTED + OPTIMIZING)

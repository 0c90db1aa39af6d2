"""The command line, as a person uses it who writes no workflow."""

import re
import subprocess
import sys

import ismrmrd
import nibabel
import numpy as np
import pypulseq
import pytest
import torch
import yaml
from click.testing import CliRunner

from pulseq_zero.cli import main
from pulseq_zero.cli.new import new_experiment
from pulseq_zero.cli.project import read_project
from pulseq_zero.errors import OptimizationError
from pulseq_zero.experiments.experiment import make_loss
from pulseq_zero.experiments.settings import LossSettings
from pulseq_zero.files.store import load_table, load_tensors
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import Phantom, TissuePool, build_phantom

EXPERIMENT = "config/experiments/echo.yaml"
# The default brain, coarse
CONFIG = {
    "experiments": ["echo"],
    "results": "results",
    "phantom": {"source": "icbm152", "matrix": 32},
    "simulation": {"accuracy": 1e-2, "tight_accuracy": 1e-3, "tight_change": 1e-2},
}


def call(*arguments, fails=0):
    result = CliRunner().invoke(main, list(arguments))
    # Anything but an exit is a traceback to the user
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == fails, result.output
    return result.output


def row_of(table, name):
    found = [line for line in table.splitlines() if line.startswith(f"{name} ")]
    assert found, table
    return found[0]


def change(path, **sections):
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, **sections}))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Lay out what `new` does, with fewer pixels, voxels and iterations."""
    monkeypatch.chdir(tmp_path)
    # Sequences of equal names in other tests' folders
    monkeypatch.delitem(sys.modules, "echo", raising=False)
    call("new", "echo")
    # A long TR lets states die out, and a coarse region holds no whole pixel of the ventricles
    change(
        tmp_path / EXPERIMENT,
        sequence={"function": "sequences/echo.py:echo", "arguments": {"n": 16, "TR": 5.0}},
        loss={"function": "losses/echo_loss.py:t2_contrast", "settings": {"share": 0.3}},
        optimizer={"iterations": 2, "verify_every": 1},
    )
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def test_new_check_run_show_export(project):
    table = call("check", EXPERIMENT)
    assert "is ready to run" in table
    for line in ("timing errors", "gradient slew", "traced file is the plain one"):
        assert f"{line} " in table
    assert "NO" not in table

    folder = project / "results/echo"
    folder.mkdir(parents=True)
    # As a process that was killed leaves it
    left = folder / ".999999-0123abcd-history.csv"
    left.touch()
    said = call("run", EXPERIMENT)
    assert not left.exists()
    history = load_table(folder / "optimization/history.csv")
    assert len(history) == 3
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    parameters, found = load_tensors(folder / "optimization/parameters.safetensors")
    assert found["best_iteration"] == 2
    # Adam's first steps are as long as its learning rate
    assert parameters["TE"].tolist() == pytest.approx([0.02, 0.03, 0.04], abs=1e-3)
    assert "TE: 0.02 -> 0.0" in said
    for stage in ("start", "optimized"):
        image = load_tensors(folder / stage / "image_tight.safetensors")[0]["image"]
        assert image.shape == (16, 16)
        written = (folder / stage / "echo.seq").read_bytes()
        assert written == (folder / stage / "traced.seq").read_bytes()
        assert f"results/echo/{stage}/echo.seq" in said

    figures = call("show", "results/echo").split()
    assert len(figures) == 4
    for figure in figures:
        assert (project / figure).read_bytes().startswith(b"\x89PNG")

    exported = call("export", "results/echo").split()
    assert [name.rpartition("/")[2] for name in exported] == [
        "start.nii.gz",
        "start.mrd",
        "optimized.nii.gz",
        "optimized.mrd",
    ]
    nifti = nibabel.load(project / exported[2])
    np.testing.assert_array_equal(np.asarray(nifti.dataobj)[..., 0], image.abs().numpy())
    assert nifti.header.get_zooms() == pytest.approx((14.0, 14.0, 5.0))
    middle = nibabel.affines.apply_affine(nifti.affine, (8, 8, 0))
    np.testing.assert_allclose(middle, 1e3 * np.array(build_phantom({}).position), atol=1e-4)
    data = ismrmrd.Dataset(str(project / exported[3]), create_if_needed=False)
    assert data.number_of_acquisitions() == 16


def test_lines_of_the_log_stand_above_the_bar(project):
    # In a process of its own: pytest has handlers of its own
    program = "from pulseq_zero.cli import main; main()"
    command = [sys.executable, "-c", program, "run", EXPERIMENT, "--iterations", "1", "--verbose"]
    done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    lines = [line for line in re.split(r"[\r\n]", done.stderr) if "iteration 0 of 1" in line]
    assert [line.partition(":")[0] for line in lines] == ["pulseq_zero.optimization.run"]


def test_new_overwrites_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses/echo_loss.py").write_text("mine")
    said = call("new", "echo", fails=1)
    assert said == (
        "Error: losses/echo_loss.py exists and is not overwritten; choose another name or remove "
        "the file\n"
    )
    assert (tmp_path / "losses/echo_loss.py").read_text() == "mine"
    assert not (tmp_path / "sequences").exists()


@pytest.mark.parametrize("name", ["My", "1st", "a-b", "../up", ""])
def test_new_refuses_what_is_no_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "cannot name an experiment" in call("new", name, fails=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("class", "a keyword of Python"),
        ("pp", "a name that its script uses"),
        ("seq", "a name that its script uses"),
        ("math", "a module that scripts may import"),
        ("torch", "a module that scripts may import"),
    ],
)
def test_a_sequence_function_needs_a_name_of_its_own(name, use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"{name!r} cannot name a sequence function, as it is {use};" in call(
        "new", name, fails=1
    )
    assert [*tmp_path.iterdir()] == []


def test_errors_are_one_sentence(project):
    change(project / EXPERIMENT, loss={"function": "losses/echo_loss.py:nothing"})
    for command in ("check", "run"):
        assert call(command, EXPERIMENT, fails=1) == (
            f"Error: {EXPERIMENT}: losses/echo_loss.py has no function 'nothing'; its name goes "
            "behind the colon\n"
        )
    change(project / EXPERIMENT, sweep={"sequence.arguments.TR": [1.0, 2.0]})
    assert "is a sweep of many runs" in call("run", EXPERIMENT, fails=1)
    (project / "empty").mkdir()
    assert "does not exist" in call("show", "empty", fails=1)
    # Click's own messages
    assert "does not exist" in call("run", "nowhere.yaml", fails=2)
    assert "No such command" in call("runn", fails=2)


BREAKS_THE_RASTER = """
    seq.add_block(pp.make_delay(1.23456e-3))
    seq.set_definition("FOV","""
LEAVES_IT = """
    seq.add_block(pp.make_delay(1e-3 + TE))
    seq.set_definition("FOV","""
DRAWS_NUMBERS = """
    seq.add_block(pp.make_delay(1e-3 * np.random.default_rng().integers(1, 10**6)))
    seq.set_definition("FOV","""
CUTS_OFF = """
    import struct
    TE = struct.unpack("d", struct.pack("d", TE))[0]
    delta_k = 1 / fov
"""


@pytest.mark.parametrize(
    ("what", "instead", "failing"),
    [
        ('\n    seq.set_definition("FOV",', BREAKS_THE_RASTER, "timing errors"),
        ('\n    seq.set_definition("FOV",', LEAVES_IT, "timing errors between rasters"),
        ('\n    seq.set_definition("FOV",', DRAWS_NUMBERS, "traced file is the plain one"),
        ("max_grad=32,", "max_grad=2,", "sequence runs"),
        ("\n    delta_k = 1 / fov\n", CUTS_OFF, "tracing"),
    ],
)
def test_check_finds_what_is_wrong(project, what, instead, failing):
    sequence = project / "sequences/echo.py"
    text = sequence.read_text()
    assert what in text
    sequence.write_text(text.replace(what, instead))
    said = call("check", EXPERIMENT, fails=1)
    assert "NO" in row_of(said, failing)
    assert failing in said.splitlines()[-1]


def test_check_says_everything_once(project):
    sequence = project / "sequences/echo.py"
    text = sequence.read_text().replace('    seq.set_definition("FOV",', '    ("FOV",')
    warned = "    import warnings\n    warnings.warn('too loud')\n    delta_k = 1 / fov\n"
    sequence.write_text(text.replace("    delta_k = 1 / fov\n", warned))
    said = call("check", EXPERIMENT, fails=1)
    assert said.count("too loud") == said.splitlines().count("Warning: too loud") == 1
    assert said.count("has no definition FOV") == 1
    assert "tracing, first step: the sequence has no definition FOV" in said


def test_what_cannot_be_written_is_said_in_a_sentence(project):
    sequence = project / "sequences/echo.py"
    text = sequence.read_text().replace('\n    seq.set_definition("FOV",', LEAVES_IT)
    sequence.write_text(text)
    change(project / EXPERIMENT, parameters={"TE": {"start": 0.0200033, "learning_rate": 0.01}})
    assert "Error: PyPulseq cannot write the sequence at start" in call("run", EXPERIMENT, fails=1)


def test_the_first_step_of_check_is_that_of_the_run(project, monkeypatch):
    """With its pulses as they are played, its ensemble, and its method."""
    content = yaml.safe_load((project / EXPERIMENT).read_text())
    change(
        project / EXPERIMENT,
        sequence={**content["sequence"], "pulses": "played"},
        ensemble=[{"scale": {"B1": 0.8}}],
        optimizer={"iterations": 9, "method": "lbfgs", "verify_every": 3, "learning_rate": 0.5},
    )
    taken = {}

    def optimize(function, losses, parameters, phantoms, **settings):
        taken.update(settings, losses=len(losses), phantoms=len(phantoms))
        raise OptimizationError("enough")

    monkeypatch.setattr("pulseq_zero.experiments.optimization.optimize", optimize)
    call("check", EXPERIMENT, fails=1)
    expected = {"pulses": "played", "phantoms": 2, "losses": 2, "method": "lbfgs"}
    expected |= {"learning_rate": 0.5, "iterations": 1, "verify_every": None}
    assert expected.items() <= taken.items()


def test_check_compares_gradients_with_finite_differences(project):
    """A gradient that is wrong on purpose: a step that the tape does not see."""
    text = (project / "sequences/echo.py").read_text()
    text = text.replace("TE: float = 20e-3,", "flip: float = 1.5, TE: float = 20e-3,")
    text = text.replace("slice_pulse(np.pi / 2,", "slice_pulse(flip,")
    (project / "sequences/echo.py").write_text(text)
    flip = {"flip": {"start": 1.5, "learning_rate": 0.01}}
    change(project / EXPERIMENT, parameters=flip)
    said = call("check", EXPERIMENT)
    assert "yes" in row_of(said, "gradients of events by flip")
    wrong = "slice_pulse(flip + 1e-3 * np.floor(flip * 1e9) / 1e9,"
    (project / "sequences/echo.py").write_text(text.replace("slice_pulse(flip,", wrong))
    said = call("check", EXPERIMENT, fails=1)
    assert "gradients of events by flip" in said.splitlines()[-1]


def test_the_templates_are_plain_pypulseq(tmp_path):
    """The sequence runs without this package, keeps PyPulseq's timing and its own echo time."""
    new_experiment("echo", tmp_path)
    script = tmp_path / "sequences/echo.py"
    assert "pulseq_zero" not in script.read_text()
    assert "my_sequence" not in "".join(p.read_text() for p in tmp_path.rglob("*.*"))
    namespace: dict = {"__name__": "template"}
    exec(script.read_text(), namespace)
    sequence = namespace["echo"](TE=0.0237, n=8, TR=0.5)
    assert isinstance(sequence, pypulseq.Sequence)
    assert sequence.check_timing()[0]
    kspace, _, *pulses, times = sequence.calculate_kspace()
    excitations, refocusings = map(np.array, pulses)
    centre = np.abs(kspace[0].reshape(8, 8)).argmin(1)
    assert centre.tolist() == [4] * 8
    echoes = times.reshape(8, 8)[:, 4]
    np.testing.assert_allclose(echoes - excitations, 0.0237, atol=2.5e-5)
    np.testing.assert_allclose(refocusings - excitations, 0.0237 / 2, atol=1e-5)
    np.testing.assert_allclose(np.diff(excitations), 0.5, atol=2e-5)


def test_defaults_are_those_of_the_repository(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("new", "echo")
    project = read_project(tmp_path / EXPERIMENT, None)
    stated = yaml.safe_load((root / "config/config.yaml").read_text())
    assert project.config.simulation.tight_accuracy == stated["simulation"]["tight_accuracy"]
    assert project.phantoms[0]["source"] == stated["phantom"]["source"]


def test_every_command_explains_itself():
    for command in ("new", "pipeline", "check", "run", "show", "export"):
        text = call(command, "--help")
        assert f"  pulseq-zero {command} " in text.partition("Example:")[2]


def test_the_optimum_is_that_of_the_closed_form(project):
    """Fluid e^(-TE/T2) before tissue: T2 contrast is best where the slopes of both agree."""
    left = torch.zeros(16, 16)
    left[3:7, 4:12] = 1.0
    right = torch.zeros(16, 16)
    right[9:13, 4:12] = 1.0
    phantom = Phantom(
        pools={"fluid": TissuePool.of(left, 1.0, 1.0), "tissue": TissuePool.of(right, 1.0, 0.08)},
        masks={"fluid": left, "tissue": right},
        fov=(0.224, 0.224),
        slice_thickness=5e-3,
    )
    loss = {
        "function": "losses/echo_loss.py:t2_contrast",
        "settings": {"bright": "fluid", "dark": "tissue"},
    }
    context = LossContext(phantom, torch.zeros(16, 16), {})
    evaluate = make_loss(LossSettings(**loss), context)
    # ln((1 / 0.08) / (1 / 1.0)) / (1 / 0.08 - 1 / 1.0)
    best = np.log(1.0 / 0.08) / (1 / 0.08 - 1 / 1.0)

    def at(TE):
        image = torch.exp(-TE / 1.0) * left + torch.exp(-TE / 0.08) * right
        return sum(evaluate({"TE": TE}, image + 0j).values())

    TE = torch.tensor(best, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(at(TE), TE)
    assert abs(float(slope)) < 1e-6
    assert float(at(TE.detach())) < float(at(TE.detach() + 0.02))

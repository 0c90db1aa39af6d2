"""The wheel, installed as an installer does it, away from the repository."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

EXPERIMENT = "config/experiments/echo.yaml"
# The spin echo that `new` lays out, with few lines, voxels and iterations
CONFIG = {
    "phantom": {"source": "icbm152", "matrix": 16},
    "simulation": {"accuracy": 1e-2, "tight_accuracy": 1e-2, "tight_change": 1e-1},
}


def run(*command, folder=None):
    # Nothing of the repository must be found by accident
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A package that is used shows those of all others
    assert "ResourceWarning" not in done.stderr, done.stderr
    return done.stdout


def environment(folder: Path) -> tuple[Path, Path]:
    """Make an empty environment; return its interpreter and its folder of packages."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    paths = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    return Path(paths["scripts"], "python"), Path(paths["purelib"])


def install(python: Path, *what: str | Path) -> None:
    # As everybody's, this compiles: there are folders of that between the package's files
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=root)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """Install the wheel alone: what it needs is found where these tests find it."""
    python, packages = environment(tmp_path_factory.mktemp("environment"))
    install(python, "--no-deps", wheel)
    # A path in such a file is searched, but files of its kind in there are not: the repository,
    # which is installed in place, is not found
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
    program = "import pulseq_zero; print(pulseq_zero.__file__)"
    assert Path(run(python, "-c", program, folder="/").strip()).is_relative_to(packages)
    return python.parent / "pulseq-zero"


def test_the_installed_command_lays_out_an_experiment(command, tmp_path):
    run(command, "new", "echo", folder=tmp_path)
    laid_out = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert laid_out == {
        EXPERIMENT,
        "config/experiment.schema.json",
        "losses/echo_loss.py",
        "sequences/echo.py",
    }


def test_what_is_not_python_is_in_the_wheel(command, tmp_path):
    """The tissue table and the schema of the default phantom, which `check` begins with."""
    run(command, "new", "echo", folder=tmp_path)
    program = """
from pathlib import Path
from pulseq_zero.cli.project import read_project
from pulseq_zero.phantom.settings import read_definition
(phantom,) = read_project(Path("config/experiments/echo.yaml"), None).phantoms
print(phantom["source"], *read_definition(phantom["definition"])["tissues"])
"""
    said = run(command.parent / "python", "-c", program, folder=tmp_path)
    assert said.split() == ["icbm152", "gm", "wm", "csf", "scalp"]


@pytest.mark.pipeline
def test_the_pipeline_is_laid_out_and_runs(command, tmp_path):
    run(command, "pipeline", "mine", folder=tmp_path)
    folder = tmp_path / "mine"
    assert not list(folder.rglob("__pycache__"))
    assert "--editable" not in (folder / "workflow/envs/pulseq_zero.post-deploy.sh").read_text()
    phantom = "results/phantom/phantom.safetensors"
    snakemake = [command.parent / "python", "-m", "snakemake", "--cores", "1", phantom]
    run(*snakemake, folder=folder)
    assert (folder / phantom).is_file()
    # An edit of the library that is installed reruns what uses it
    (library,) = command.parent.parent.rglob("site-packages/pulseq_zero/phantom/build.py")
    assert "rule phantom" not in run(*snakemake, "--dry-run", folder=folder)
    library.write_text(library.read_text() + "\n# edited\n")
    assert "rule phantom" in run(*snakemake, "--dry-run", folder=folder)


@pytest.mark.network
def test_every_command_works_where_nothing_else_is_installed(wheel, tmp_path):
    python, _ = environment(tmp_path / "environment")
    install(python, f"{wheel}[brain]")
    command = python.parent / "pulseq-zero"
    run(command, "new", "echo", folder=tmp_path)
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(CONFIG))
    content = yaml.safe_load((tmp_path / EXPERIMENT).read_text())
    content["sequence"]["arguments"] = {"n": 8}
    content["loss"]["settings"] |= {"share": 0.1}
    content["optimizer"] = {"iterations": 2}
    (tmp_path / EXPERIMENT).write_text(yaml.safe_dump(content))
    for arguments in (
        ["check", EXPERIMENT],
        ["run", EXPERIMENT],
        ["show", "results/echo"],
        ["export", "results/echo"],
    ):
        run(command, *arguments, folder=tmp_path)
    assert (tmp_path / "results/echo/optimized/echo.seq").is_file()
    assert (tmp_path / "results/echo/figures/optimization.png").is_file()
    assert (tmp_path / "results/echo/export/optimized.nii.gz").is_file()

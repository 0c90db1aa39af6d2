"""The code of the README and of the docs runs, and their commands and files exist."""

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pulseq_zero.cli import main
from pulseq_zero.config import validate

PAGES = sorted(path.name for path in (Path(__file__).parents[1] / "docs").glob("*.md"))


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return [
        re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        for indent, code in re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.M | re.S)
    ]


def test_the_python_example_runs(readme, root, tmp_path, monkeypatch):
    example, loss_maker = blocks(readme, "python")
    (tmp_path / "sequences").symlink_to(root / "sequences")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(example.replace("iterations=150", "iterations=2, progress=False"), namespace)
    assert float(namespace["result"].best["TI"]) > 1.05
    assert (tmp_path / "flair.seq").stat().st_size > 10_000
    exec(loss_maker, namespace)
    assert callable(namespace["homogeneous"])


def test_the_experiment_example_is_valid(readme, root):
    (experiment,) = blocks(readme, "yaml")
    schema = root / "workflow/schemas/experiment.schema.yaml"
    validate(yaml.safe_load(experiment), schema, "the README's example")


def test_links_and_folders_exist(readme, root):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (root / link).exists(), link
    for folder in re.findall(r"^\| `([a-z_/]+)/` \|", readme, re.M):
        assert (root / folder).is_dir(), folder


def test_the_commands_exist(readme, root):
    makefile = (root / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", readme, re.M):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("page", ["README.md", "docs/own-script.md"])
def test_the_command_line_is_as_written(page, root, tmp_path, monkeypatch):
    """`new` is run; of the other commands the files that it makes are the arguments."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks((root / page).read_text("utf-8"), "sh"))
    commands = [
        line.split("#")[0].split()[1:] for line in re.findall(r"^pulseq-zero .*", code, re.M)
    ]
    assert [command[0] for command in commands] == ["new", "check", "run", "show", "export"]
    runner = CliRunner()
    assert runner.invoke(main, commands[0]).exit_code == 0
    for name, *arguments in commands:
        assert runner.invoke(main, [name, "--help"]).exit_code == 0
        for argument in arguments:
            made = argument == "my_sequence" or Path(argument).name == "my_sequence"
            assert made or Path(argument).is_file(), argument


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, root, tmp_path, monkeypatch):
    """The blocks of a page are one script."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "page"}
    for number, code in enumerate(blocks((root / "docs" / page).read_text("utf-8"), "python")):
        exec(compile(code, f"{page}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_exist(page, root):
    text = (root / "docs" / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (root / "docs" / link).exists(), link

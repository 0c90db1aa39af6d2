"""Every block of code in README and docs runs, or is checked as far as it can be.

The blocks of a page are one script, in one namespace. Notebooks run when the site is built
(`make docs`), which also checks links and anchors.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from click.testing import CliRunner

import pulseq_zero
from pulseq_zero.cli import main
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment
from pulseq_zero.experiments.sweeps import sweep_runs, sweep_table
from pulseq_zero.phantom.settings import read_config

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
)
NOTEBOOKS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.ipynb"))

# What a page's code is changed in before it runs, as (page, text): replacement.
SHORTENED = {
    # All 150 iterations are the experiment flair_ti; two show that the example runs
    ("README.md", "iterations=150"): "iterations=2, progress=False",
}

# Commands that are not run, and why; their arguments are checked where there is something to check.
NOT_RUN = {
    "apt-get": "needs root and a network",
    "source": "changes the shell that the reader sits at",
    "pip": "needs a network; its extras are checked",
    "make": "its targets are the tests themselves, or run for hours; a dry run has to find them",
    "snakemake": "runs for minutes to hours; options are parsed, and targets have to have a rule",
    "pulseq-zero": "`new` is run, the arguments of the others are parsed; tests/cli runs them all",
    "python": "runs tests or writes files; the files that it is given are looked for",
}

# Folders of the project that the pages' code reads
READ = ("sequences", "losses", "config", "phantoms")

# Blocks that are no code: rules of the pipeline as a picture, and directives of the site.
PICTURES, DIRECTIVES = "mermaid", "{eval-rst}"


class Block(NamedTuple):
    page: str
    line: int
    language: str
    code: str


def blocks_of(page: str) -> list[Block]:
    """Find the fenced blocks of a page, also those inside of lists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 2,
            match["language"],
            re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
        )
        for match in re.finditer(
            r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<code>.*?)^ *```", text, re.M | re.S
        )
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def with_blocks(language: str) -> list[str]:
    return sorted({block.page for block in BLOCKS if block.language == language})


def commands() -> list[tuple[str, list[str]]]:
    """List the commands of all pages, each with its page."""
    found = []
    for block in BLOCKS:
        if block.language == "sh":
            lines = block.code.replace("\\\n", " ").splitlines()
            found += [(block.page, shlex.split(line, comments=True)) for line in lines]
    return [(page, words) for page, words in found if words]


COMMANDS = commands()


def commands_of(program: str) -> list[list[str]]:
    return [words[1:] for _, words in COMMANDS if words[0] == program]


def test_no_block_is_passed_over():
    known = {"python", "sh", "yaml", PICTURES, DIRECTIVES}
    strangers = [(*block[:3],) for block in BLOCKS if block.language not in known]
    assert not strangers, "say in this file how these are checked"
    assert {words[0] for _, words in COMMANDS} <= NOT_RUN.keys()


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    for folder in filter(Path.is_dir, map(ROOT.joinpath, READ)):
        (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_of_a_page_runs(page, scratch):
    namespace: dict = {"__name__": "page"}
    wanted = {text: new for (of, text), new in SHORTENED.items() if of == page}
    for block in blocks_of(page):
        if block.language != "python":
            continue
        code = block.code
        for text in [text for text in wanted if text in code]:
            code = code.replace(text, wanted.pop(text))
        # In their own lines of the page, which errors then name
        exec(compile("\n" * (block.line - 1) + code, page, "exec"), namespace)
    assert not wanted, "no longer in the page"


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_the_yaml_of_a_page_is_valid(page):
    """Parts of an experiment or of the config are put into a whole one."""
    experiment = yaml.safe_load((ROOT / "config/experiments/tse_sar.yaml").read_text())
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    keys = Experiment.model_fields.keys()
    for block in (block for block in blocks_of(page) if block.language == "yaml"):
        name = f"{page}, line {block.line}"
        # Alternatives stand below each other
        for text in filter(str.strip, re.split(r"^(?=phantom:)", block.code, flags=re.M)):
            content = yaml.safe_load(text)
            if content.keys() & {"sequence", "sequences"}:
                read(Experiment, content, name)
            elif content.keys() == {"phantom"}:
                read_config(content["phantom"])
            elif content.keys() <= keys:
                whole = {**experiment, **content}
                read(Experiment, whole, name)
                if "sweep" in content:
                    sweep_runs(whole, sweep_table("tse_sar", content["sweep"]))
            else:
                read(Config, {**config, **content}, name)


def test_the_command_line_is_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = commands_of("pulseq-zero")
    made = next(words for words in written if words[0] == "new")
    assert CliRunner().invoke(main, made).exit_code == 0
    (tmp_path / "results/my_sequence").mkdir(parents=True)
    for name in ("gre.seq", "phantom.json"):
        (tmp_path / name).touch()
    for name, *arguments in written:
        main.commands[name].make_context(name, list(arguments))


@pytest.mark.parametrize("words", commands_of("make"), ids=" ".join)
def test_make_knows_the_target(words):
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("words", commands_of("python"), ids=" ".join)
def test_python_is_given_files_that_exist(words):
    paths = [word for word in words if "/" in word]
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in commands_of("pip"):
        for names in re.findall(r"\[(.+?)\]", " ".join(words)):
            assert set(names.split(",")) <= extras["optional-dependencies"].keys()


@pytest.mark.pipeline
def test_snakemake_knows_options_and_targets():
    """The options of each command are parsed; what the pages ask for is planned all at once."""
    targets = {
        target
        for page in PAGES
        for target in re.findall(r"snakemake (results/\S+?)`", (ROOT / page).read_text("utf-8"))
    }
    code = "import sys, json\nfrom snakemake.cli import parse_args\n"
    code += "for words in json.loads(sys.argv[1]): parse_args(words)"
    for arguments in (
        ["-c", code, json.dumps(commands_of("snakemake"))],
        ["-m", "snakemake", "--dry-run", "--quiet", "all", "--cores", "1", *sorted(targets)],
    ):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_picture_of_the_pipeline_names_its_rules():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    known = set(re.findall(r"^ *rule (\w+):", rules, re.M))
    for code in [block.code for block in BLOCKS if block.language == PICTURES]:
        # A rule that stands there twice has another name and its own as a label
        labels = dict(re.findall(r'(\w+)\["?(\w+)', code))
        names = re.findall(r"\w+", re.sub(r"\[.*?\]", "", code.partition("\n")[2]))
        assert {labels.get(name, name) for name in names} <= known


def test_the_reference_has_all_public_names_and_no_others():
    directives = "\n".join(block.code for block in BLOCKS if block.language == DIRECTIVES)
    documented = re.findall(r"^\.\. auto\w+:: (\S+)$", directives, re.M)
    # A package that is the function of its name, too, is documented as that
    public = {re.sub(r"\.(\w+)\.\1$", r".\1", name) for name in documented}
    assert {f"pulseq_zero.{name}" for name in pulseq_zero.__all__} <= public
    for name in documented:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


@pytest.mark.parametrize("page", PAGES)
def test_links_and_folders_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)\)|src=\"([^\"]+)\"", text):
        assert ((ROOT / page).parent / "".join(link)).exists(), link
    for folder in re.findall(r"^\| `([a-z_/]+)/` \|", text, re.M):
        assert (ROOT / folder).is_dir() or page != "README.md", folder


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebooks_hold_what_they_show(path):
    """They are read as they are where the code is hosted, so outputs are stored, and small."""
    content = (ROOT / path).read_text(encoding="utf-8")
    notebook = json.loads(content)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 4
    # What the live line said at last
    assert re.search(r"100%.*loss=|loss=.*100%", json.dumps(notebook["metadata"]["widgets"]))
    assert len(content) < 500_000

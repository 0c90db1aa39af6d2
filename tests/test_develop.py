"""What contributors read, and what runs for them, names what there is, and pinned versions."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
)
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = [path for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml") if path.stem != "config"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
# Not those that are made: results, environments, the site
FOLDERS = {".ci", ".github", "benchmarks", "config", "docs", "losses", "phantoms", "sequences"}
FOLDERS |= {"src", "tests", "workflow"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def quoted(page: str) -> list[str]:
    """List what a page names in backquotes, outside of blocks of code."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


def resolved(name: str) -> object:
    """Find a module, or what a module has, by its dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


# The past has names that are no more
@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_names_of_the_library_exist(page):
    for name in quoted(page):
        if re.fullmatch(r"pulseq_zero(\.\w+)+", name):
            resolved(name)


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    for name in quoted(page):
        is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", name) and name.partition("/")[0] in FOLDERS
        # The user's own, as `pulseq-zero new` lays it out
        if is_path and "my_sequence" not in name:
            assert (ROOT / name).exists(), name


def test_a_word_of_the_glossary_stands_there_once():
    rows = (ROOT / "docs/develop/glossary.md").read_text("utf-8").splitlines()
    cells = [row.split("|")[1].strip() for row in rows if re.match(r"\| [^-]", row)]
    words = [word for cell in cells for word in cell.split(", ") if word != "word"]
    assert len(words) > 50
    assert len(words) == len(set(words))


@pytest.fixture(scope="module")
def packages() -> ModuleType:
    path = ROOT / "docs/develop/packages.py"
    specification = importlib.util.spec_from_file_location("packages", path)
    assert specification is not None and specification.loader is not None
    packages = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(packages)
    return packages


def test_the_picture_of_the_packages_is_that_of_the_code(packages):
    drawn = packages.picture(packages.imports())
    assert packages.PICTURE.read_text("utf-8") == drawn, "run docs/develop/packages.py"
    with pytest.raises(ValueError, match="a circle of imports: a -> b -> a"):
        packages.below({"a": {"b"}, "b": {"a"}}, "a")


def test_packages_are_few_and_say_what_they_import(packages):
    imports = packages.imports()
    assert len(imports.keys() - {"workflow"}) <= 13
    for name in imports.keys() - {"errors", "workflow"}:
        doc = import_module(f"pulseq_zero.{name}").__doc__
        said = set(re.findall(r"\w+", doc[doc.lower().index("imports") :]))
        assert "everything" in said or imports[name] <= said, f"{name} imports {imports[name]}"


TEXTS = [*WORKFLOWS, GITHUB / "PULL_REQUEST_TEMPLATE.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_make_knows_what_is_asked_of_it(path):
    for target in set(re.findall(r"(?:^|`|run: )make ([a-z-]+)", path.read_text("utf-8"), re.M)):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_one_and_uses_files_that_exist(path):
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 takes `on` for a truth value
    assert workflow[True] and workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    for name in re.findall(r"[\w./-]+\.(?:toml|lock|yml)\b", text):
        assert (ROOT / name).is_file(), name
    for extra in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert set(extra.split(",")) <= project()["optional-dependencies"].keys()


def test_tests_run_on_every_python_that_is_supported():
    jobs = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text())["jobs"]
    versions = jobs["test"]["strategy"]["matrix"]["python"]
    assert project()["requires-python"] == f">={versions[0]}"
    numbers = [int(version.removeprefix("3.")) for version in versions]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    written = re.search(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / "CONTRIBUTING.md").read_text())
    assert written is not None
    assert [int(number) for number in written.groups()] == [numbers[0], numbers[-1]]


def test_what_other_sites_read_says_what_the_project_says():
    deposit = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert deposit["license"] == citation["license"] == project()["license"]
    assert {each["name"] for each in deposit["creators"]} == {
        each["name"] for each in citation["authors"]
    }
    assert deposit["keywords"] == citation["keywords"]
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["apptainer"]
    assert re.search(r'^containerized: ".+\.sif"$', (ROOT / "Snakefile").read_text("utf-8"), re.M)


def test_other_builders_install_what_make_does():
    read_the_docs = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text("utf-8"))
    *locked, itself = read_the_docs["build"]["jobs"]["install"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in locked:
        assert re.search("(--no-deps .*)?--requirement .*", line)[0] in makefile
    files = [re.search(r"[\w-]+\.lock", line)[0] for line in locked]
    assert set(files) == {file.name for file in ROOT.glob("requirements*.lock")}
    assert itself.removeprefix("pip install ") in makefile
    (build,) = read_the_docs["build"]["jobs"]["build"]["html"]
    assert build.partition(" . ")[0].removeprefix("sphinx-build ") in makefile
    # Without an index of its own, torch would come with CUDA
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert index in locked[1] and index in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_page_of_the_package_index_links_to_nothing_beside_it():
    page = (ROOT / project()["readme"]).read_text("utf-8")
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", page))


def test_hooks_have_the_versions_of_the_lock_file():
    pins = re.findall(r"^\S+==\S+", (ROOT / "requirements.lock").read_text(), re.M)
    asked = [pin for hook in HOOKS for pin in hook.get("additional_dependencies", [])]
    assert len(asked) == 3
    assert set(asked) <= set(pins)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_checks_what_make_check_does(hook):
    done = subprocess.run(
        ["make", "--dry-run", "check"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    command = next(line for line in done.stdout.splitlines() if f"/{hook['name']} " in f"{line} ")
    checked = [word for word in command.split() if (ROOT / word).exists()]
    for name in checked:
        path = ROOT / name
        if "/bin/" not in name:
            files = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.smk")]
            assert files
            for file in files:
                assert re.search(hook["files"], str(file.relative_to(ROOT))), file


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_something_once(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"] and form["description"]
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names) > 1
    assert all(field["attributes"]["label"] for field in form["body"])


def test_the_version_stands_the_same_everywhere():
    version = project()["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] in {"Unreleased", version}

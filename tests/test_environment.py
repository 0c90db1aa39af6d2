import importlib.util
import re

import pytest
import yaml


def load(root):
    spec = importlib.util.spec_from_file_location("environment", root / "workflow/environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_conda_environments_have_the_pins_of_the_lock_file(root):
    module = load(root)
    expected = module.environment(root)
    assert (root / "workflow/envs/pulseq_zero.yaml").read_text() == expected
    assert (root / "environment.yml").read_text() == module.with_project(expected)


def test_the_report_can_be_made_in_them(root):
    (packages,) = yaml.safe_load((root / "environment.yml").read_text())["dependencies"][2:]
    assert any(package.startswith("snakemake[reports]==") for package in packages["pip"])
    assert packages["pip"][-1] == "--editable ."


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-docs.lock"])
def test_everything_but_torch_is_pinned_with_checksums(root, name):
    """Of all files of each, so that it is any Python's and system's."""
    _, *pins = re.split(r"^(?=\S)", (root / name).read_text(), flags=re.M)[1:]
    checksum = r"    --hash=sha256:[0-9a-f]{64}"
    for pin in pins:
        assert re.fullmatch(rf"[a-z0-9-]+==[^ +]+ \\\n(?:{checksum} \\\n)*{checksum}\n", pin), pin
    assert not [pin for pin in pins if pin.startswith("torch==")]


def test_torch_is_pinned_whatever_its_build(root):
    assert (root / "requirements-torch.lock").read_text().splitlines()[1:] == ["torch==2.13.0"]


def test_nothing_is_installed_from_a_lock_file_without_its_checksum(root):
    for name in ("Makefile", "Dockerfile", ".readthedocs.yaml", ".ci/run"):
        for line in (root / name).read_text().splitlines():
            if re.search(r"install.* requirements(-docs)?\.lock", line):
                assert "--no-deps --require-hashes --requirement requirements" in line


def test_all_that_is_locked_is_audited(root):
    jobs = yaml.safe_load((root / ".github/workflows/dependencies.yml").read_text())["jobs"]
    audited = re.findall(r"--requirement (\S+)", jobs["audit"]["steps"][-1]["run"])
    assert set(audited) == {file.name for file in root.glob("requirements*.lock")}

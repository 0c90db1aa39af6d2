import importlib.util
import re

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


def test_everything_is_pinned_and_torch_stays_the_cpu_build(root):
    lines = (root / "requirements.lock").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ +]+", line) for line in lines)
    assert "torch==2.13.0" in lines

import importlib.util
import re

import pytest
import yaml


def load(root, name="environment"):
    spec = importlib.util.spec_from_file_location(name, root / f"workflow/{name}.py")
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


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-docs.lock"])
def test_everything_is_pinned_and_has_hashes(root, lock):
    """What pip asks of each line, once one of them has a hash."""
    entries = (root / lock).read_text().replace("\\\n", " ").splitlines()[1:]
    pattern = r"[A-Za-z0-9._-]+==[^ +]+( +--hash=sha256:[0-9a-f]{64})+"
    assert entries
    assert all(re.fullmatch(pattern, entry) for entry in entries)


def test_torch_stays_where_the_build_without_cuda_is_known_too(root):
    (entry,) = re.findall(r"^torch==2\.13\.0 (?:\\\n.*)+?(?<!\\)$", text(root), re.M)
    # For three versions of Python on machines of four kinds, and one build without CUDA at least
    assert entry.count("--hash") > 12


def test_a_build_of_another_place_is_one_more_file_of_the_same_pin(root):
    lock = load(root, "lock")
    before = "a==1 \\\n    --hash=sha256:aa\ntorch==2 \\\n    --hash=sha256:bb\n"
    after = lock.with_hash(before, "torch==2", "cc")
    assert after == before.replace("torch==2 \\\n", "torch==2 \\\n    --hash=sha256:cc \\\n")
    assert lock.with_hash(after, "torch==2", "cc") == after


def text(root):
    return (root / "requirements.lock").read_text()

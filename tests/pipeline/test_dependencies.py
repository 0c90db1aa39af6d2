"""Which files of the library a step depends on, and which sections it declares."""

import sys

import pytest


@pytest.fixture
def dependencies(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "workflow")
    monkeypatch.chdir(root)
    monkeypatch.delitem(sys.modules, "dependencies", raising=False)
    import dependencies

    return dependencies


def test_a_step_depends_on_what_it_uses_also_where_a_package_has_it_from_elsewhere(dependencies):
    files = dependencies.library_files(dependencies.STEPS / "optimize.py")
    for name in ("simulation/simulator", "conversion/model", "phantom/phantom", "tracing/trace"):
        assert f"src/pulseq_zero/{name}.py" in files
    # What is loaded by a package for those that use a module of it
    assert "src/pulseq_zero/tracing/numpy/choosing.py" in files
    assert not [file for file in files if "kinds/kind" in file or "figures" in file]


def test_what_a_step_does_not_use_does_not_concern_it(dependencies):
    files = dependencies.library_files(dependencies.STEPS / "phantom.py")
    assert "src/pulseq_zero/phantom/icbm152.py" in files
    assert not [file for file in files if "simulation" in file or "optimization" in file]
    judge = dependencies.library_files(dependencies.STEPS / "judge.py")
    assert not [file for file in judge if "optimization/run" in file or "tracing" in file]


def test_sections_are_declared(dependencies):
    assert dependencies.sections_of("scan")[-1] == "scan"
    with pytest.raises(LookupError, match="phantom declares no SECTIONS"):
        dependencies.sections_of("phantom")


@pytest.mark.parametrize(
    "code",
    [
        "import pulseq_zero\nmodel = pulseq_zero.ImagingModel",
        "import pulseq_zero as pz\nmodel = pz.ImagingModel",
        "from pulseq_zero import ImagingModel",
    ],
)
def test_a_script_depends_on_what_it_uses_of_the_package_itself(dependencies, tmp_path, code):
    script = tmp_path / "script.py"
    script.write_text(code)
    files = dependencies.library_files(script)
    for name in ("imaging/model", "simulation/simulator"):
        assert f"src/pulseq_zero/{name}.py" in files
    assert not [file for file in files if "optimization" in file]


def test_the_gallery_s_examples_depend_on_the_library(dependencies, root):
    for example in (root / "docs/gallery").glob("*_network.py"):
        files = dependencies.library_files(example)
        assert "src/pulseq_zero/simulation/simulator.py" in files

"""Which files of the user's own a function comes from."""

import sys
from pathlib import Path

import pytest

from pulseq_zero.files.loading import load_function
from pulseq_zero.files.sources import sources_of
from pulseq_zero.optimization.checkpoints import fingerprint, identity

FILES = {
    "sequences/tse.py": "import numpy as np\nimport helper_of_tse\nfrom parts import pulse\n",
    "sequences/helper_of_tse.py": "def late():\n    from parts.deep import most\n",
    "sequences/parts/__init__.py": "",
    "sequences/parts/pulse.py": "from . import shape\nfrom ..parts.other import x\n",
    "sequences/parts/shape.py": "import helper_of_tse\n",
    "sequences/parts/other.py": "x = 1\n",
    "sequences/parts/deep/__init__.py": "from .most import *\n",
    "sequences/parts/deep/most.py": "import math\n",
    "sequences/unused.py": "",
    "own/__init__.py": "",
    "own/train.py": "from own import angles\n",
    "own/angles.py": "",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def names(reference, folder):
    return [str(file.relative_to(folder.resolve())) for file in sources_of(reference)]


def test_imports_are_followed_from_file_to_file(folder):
    expected = sorted(name for name in FILES if "sequences" in name and "unused" not in name)
    assert names("sequences/tse.py:tse", folder) == expected


def test_modules_are_found_from_the_working_directory(folder):
    assert names("own.train:train", folder) == ["own/__init__.py", "own/angles.py", "own/train.py"]


@pytest.mark.parametrize(
    "reference",
    [
        "pulseq_zero.optimization.losses:contrast",
        "numpy.linalg:norm",
        "sys:exit",
        "none:f",
        "a.py:f",
    ],
)
def test_what_is_installed_or_missing_is_not_the_users_own(folder, reference):
    assert names(reference, folder) == []


def test_a_script_that_a_file_makes_a_function_of_is_followed(folder):
    Path("made.py").write_text(
        "import pulseq_zero\n\ntse = pulseq_zero.script('own/train.py', 'n')"
    )
    of_it = ["own/__init__.py", "own/angles.py", "own/train.py"]
    assert names("made.py:tse", folder) == ["made.py", *of_it]


def test_a_file_that_is_no_python_has_no_imports(folder):
    Path("sequences/helper_of_tse.py").write_text("def f(:\n")
    assert "sequences/helper_of_tse.py" in names("sequences/tse.py:tse", folder)


SEQUENCE = """
import timing
import settings as given

FLIP = {flip}


class Angle:
    def __call__(self):
        return {angle}


angle = Angle()


def sequence(TE=1.0):
    def inner():
        return timing.TE * FLIP * angle()

    return inner()
"""


def described(tmp_path, name, helper_of_tse="TE = 1", flip=1, angle=1):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "given.py").write_text(SEQUENCE.format(flip=flip, angle=angle))
    (folder / "timing.py").write_text(helper_of_tse)
    (folder / "settings.py").write_text("")
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        found = fingerprint(identity(load_function(f"{folder}/given.py:sequence")))
    finally:
        sys.path.remove(str(folder))
        while str(folder) in sys.path:
            sys.path.remove(str(folder))
        for module in set(sys.modules) - before:
            del sys.modules[module]
    return found


def test_a_checkpoint_belongs_to_all_files_of_its_functions(tmp_path):
    """A run whose helper was edited is another run: it would join two sequences in one history."""
    same = described(tmp_path, "same")
    assert described(tmp_path, "again") == same
    assert described(tmp_path, "helper_of_tse", helper_of_tse="TE = 2") != same
    assert described(tmp_path, "text", flip=2) != same


def test_a_checkpoint_belongs_to_what_its_functions_hold():
    """As in a notebook, where no file says it."""
    made = {"weight": 1.0, "scale": 2.0}

    def loss(parameters, image):
        return made["weight"] * image

    class Weighted:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, parameters, image):
            return self.weight * image

        def method(self, parameters, image):
            return self.weight * image

    one, other = Weighted(1.0), Weighted(2.0)
    assert identity(one) == identity(Weighted(1.0)) != identity(other)
    assert identity(one.method) != identity(other.method)
    before = identity(loss)
    made["weight"] = 3.0
    assert identity(loss) != before
    assert identity(of_globals) != changed_globals()


SCALE = [1.0]


def of_globals(parameters, image):
    return [SCALE[0] * each for each in image]


def changed_globals():
    SCALE[0] = 2.0
    try:
        return identity(of_globals)
    finally:
        SCALE[0] = 1.0

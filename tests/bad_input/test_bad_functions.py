"""Sequence functions, loss functions and settings that cannot be used."""

from __future__ import annotations

import pypulseq
import pytest
import torch

from pulseq_zero.experiments.experiment import make_loss, sequence_setup
from pulseq_zero.experiments.settings import LossSettings, only_sections
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.optimization.optimize import optimize
from support.refusal import check
from support.toy import inversion_recovery, one_voxel, signal_loss

FILES = {
    "broken.py": "def f(:",
    "raising.py": "1 / 0",
    "exiting.py": "import sys\n\nsys.exit(2)",
    "fine.py": "import math\n\n\ndef f(TI=1.0):\n    return math.sqrt(-TI)\n\n\nvalue = 3\n",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sequence": {"function": "none.py:f"}},
            "there is no Python file none.py; mend the name or create the file",
        ),
        (
            {"sequence": {"function": "broken.py:f"}},
            "broken.py fails on import: SyntaxError: invalid syntax (broken.py, line N)",
        ),
        (
            {"sequence": {"function": "raising.py:f"}},
            "raising.py fails on import: ZeroDivisionError: division by zero",
        ),
        (
            {"sequence": {"function": "exiting.py:f"}},
            "exiting.py fails on import: SystemExit: 2",
        ),
        (
            {"sequence": {"function": "raising:f"}},
            "raising fails on import: ZeroDivisionError: division by zero",
        ),
        (
            {"sequence": {"function": ".fine:f"}},
            "'.fine:f' must look like 'module:function' or 'file.py:function'",
        ),
        (
            {"sequence": {"function": "fine.py:g"}},
            "fine.py has no function 'g'; its name goes behind the colon",
        ),
        (
            {"sequence": {"function": "fine.py:value"}},
            "fine.py has no function 'value'; its name goes behind the colon",
        ),
        (
            {"sequence": {"function": "no_such_module:f"}},
            "cannot import 'no_such_module', named by 'no_such_module:f': No module named "
            "'no_such_module'",
        ),
        ({"parameters": {"TE": {"start": 1.0}}}, "f has no argument 'TE'; its arguments are TI"),
        (
            {"parameters": {"TI": {"start": [[1], [1, 2]]}}},
            "parameter 'TI' has no numeric start value, neither in the experiment nor as "
            "the function's default; give it one with start:",
        ),
        (
            {"parameters": {"TI": {"start": 9.0, "upper": 6.0}}},
            "parameter 'TI': a start value lies outside the bounds from -inf to 6.0",
        ),
        (
            {"parameters": {"TI": {"start": 1.0, "lower": 6.0, "upper": 5.0}}},
            "parameter 'TI': the lower bound 6.0 must lie below the upper bound 5.0",
        ),
    ],
)
def test_sequence_functions(tmp_path, monkeypatch, change, message):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    experiment = {"parameters": {"TI": {"start": 1.0}}, "sequence": {"function": "fine.py:f"}}
    given = only_sections({**experiment, **change})
    check(lambda: sequence_setup(given.sequence, given.parameters), message)


def fails(TI):
    raise KeyError("rf")


def fails_without_words(TI):
    raise AssertionError


def gives_nothing(TI):
    return None


def gives_two(TI):
    return [inversion_recovery(TI), inversion_recovery(TI)]


def without_blocks(TI):
    return pypulseq.Sequence()


def of_size(fov):
    def sequence(TI):
        made = inversion_recovery(TI)
        made.definitions["FOV"] = fov
        return made

    return sequence


def bad_loss(parameters, image):
    return parameters["TE"] + image.abs().sum()


def complex_loss(parameters, image):
    return image.sum()


def detached_loss(parameters, image):
    return image.detach().abs().sum()


def infinite_loss(parameters, image):
    return image.abs().sum() / 0


@pytest.mark.parametrize(
    ("function", "loss", "settings", "message"),
    [
        (
            fails,
            signal_loss,
            {},
            "the sequence function fails: KeyError: 'rf' (test_bad_functions.py, line N)",
        ),
        (
            fails_without_words,
            signal_loss,
            {},
            "the sequence function fails: AssertionError: raise AssertionError "
            "(test_bad_functions.py, line N)",
        ),
        (
            gives_nothing,
            signal_loss,
            {},
            "the sequence function returned no sequence that it made: return the "
            "pypulseq.Sequence that the blocks were added to",
        ),
        (
            gives_two,
            signal_loss,
            {},
            "the sequence function returned 2 sequences, but only one is simulated: return one, "
            "and choose which by an argument of the function",
        ),
        (
            without_blocks,
            signal_loss,
            {},
            "the sequence holds no RF pulse, so there is nothing to simulate",
        ),
        (
            of_size([0.2, -0.2, 0.2]),
            signal_loss,
            {},
            "the sequence's definition FOV is [0.2, -0.2, 0.2], but must be its lengths [x, y, z] "
            "in m",
        ),
        (
            of_size("large"),
            signal_loss,
            {},
            "the sequence's definition FOV is 'large', but must be its lengths [x, y, z] in m",
        ),
        (
            "sequences/tse.py",
            signal_loss,
            {},
            "the sequence function must be a function, not 'sequences/tse.py'; of a file, "
            "pulseq_zero.files.loading.load_function makes one",
        ),
        (
            inversion_recovery,
            None,
            {},
            "the loss function must be a function of (parameters, image), not None",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"phantom": "brain"},
            "the phantom must be a Phantom, or one of MRzeroCore, not 'brain'; "
            "pulseq_zero.build_phantom makes one",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"phantom": None},
            "the phantom must be a Phantom, or one of MRzeroCore, not None; "
            "pulseq_zero.build_phantom makes one",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": ["TI"]},
            "parameters must be a mapping of names to start values, not list",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"iterations": 2.5},
            "iterations is 2.5, but must be a whole number",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"pulses": "real"},
            "pulses is 'real', but must be one of ('played', 'instantaneous')",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"seed": "a"},
            "seed is 'a', but must be a whole number",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"learning_rate": "fast"},
            "learning_rate must be a number, not 'fast'",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"simulation": {"device": "gpu"}},
            "device is 'gpu', but must be 'cpu' or 'cuda'",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"simulation": {"fast": True}},
            "the simulation has no setting 'fast'; its settings are device, dtype, engine, "
            "memory, thresholds, initial, pulse_relaxation, backend",
        ),
        (
            inversion_recovery,
            bad_loss,
            {},
            "the loss function fails in iteration 0: KeyError: 'TE' "
            "(test_bad_functions.py, line N)",
        ),
        (
            inversion_recovery,
            complex_loss,
            {},
            "the loss function returned a complex tensor of shape (), but every loss must "
            "be a real scalar tensor; take the mean, or the magnitude",
        ),
        (
            inversion_recovery,
            detached_loss,
            {},
            "the loss has no gradient: it depends on no parameter, or was cut off by "
            "detach(), item() or NumPy; compute it with torch from the image and the "
            "parameters",
        ),
        (
            inversion_recovery,
            infinite_loss,
            {},
            "the loss is inf in iteration 0 at TI = 1; lower the learning rate, set "
            "bounds, or halve the step by on_not_finite='halve'",
        ),
        (
            inversion_recovery,
            lambda p, x: {},
            {},
            "the loss function returned no terms; return at least one",
        ),
        (
            inversion_recovery,
            lambda p, x: x.abs(),
            {},
            "the loss function returned a tensor of shape (8, 1), but every loss must be a "
            "real scalar tensor; take the mean, or the magnitude",
        ),
        (
            inversion_recovery,
            lambda p, x: 3.0,
            {},
            "the loss function returned 3.0, but every loss must be a real scalar tensor; "
            "take the mean, or the magnitude",
        ),
        (
            inversion_recovery,
            lambda p, x: p["TI"] * 0 + x.abs().sum() * 0,
            {},
            "parameter 'TI' has no effect on the loss at the start values, nor 0.1 away from them; "
            "remove it, or start elsewhere",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": {"TE": 1.0}},
            "inversion_recovery has no argument 'TE'; its arguments are TI, flip",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": {"TI": "long"}},
            "parameter 'TI': start values must be numbers, not 'long'",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": {"TI": float("nan")}},
            "parameter 'TI': start values must be finite numbers",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": {}},
            "no parameters to optimize; name at least one",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"iterations": 0},
            "iterations is 0, but must be at least 1",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"method": "newton"},
            "there is no method 'newton'; the methods are 'adam', 'rprop' and 'lbfgs'",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"accuracy": 0.0},
            "accuracy is 0.0, but must lie between 0 and 1",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"simulation": {"engine": "bloch"}},
            "engine is 'bloch', but must be one of ('pdg', 'mrzero')",
        ),
        (
            inversion_recovery,
            signal_loss,
            {"parameters": {"TI": 1e-4}},
            "the sequence function fails: ValueError: Delay -2.44 ms is invalid (toy.py, line N)",
        ),
    ],
)
def test_optimizations(function, loss, settings, message):
    given = {
        "parameters": {"TI": 1.0},
        "phantom": one_voxel(),
        "iterations": 1,
        "progress": False,
        **settings,
    }
    parameters, phantom = given.pop("parameters"), given.pop("phantom")
    check(lambda: optimize(function, loss, parameters, phantom, **given), message)


LOSSES = """
def none(context):
    return None


def bad(context):
    return {}["x"]


def image(context, weight=1.0):
    return lambda parameters, image: weight * image.abs().sum()
"""


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            {"function": "losses.py:none"},
            "'losses.py:none' must return a function of (parameters, image); it is called "
            "with the loss context and the settings",
        ),
        (
            {"function": "losses.py:bad"},
            "the loss maker 'losses.py:bad' fails: KeyError: 'x' (losses.py, line N)",
        ),
        (
            {"function": "losses.py:image", "settings": {"wait": 1}},
            "loss 'losses.py:image': got an unexpected keyword argument 'wait'",
        ),
        (
            {"function": "pulseq_zero.optimization.losses:contrast", "settings": {"dark": "bone"}},
            "the phantom has no region 'bone', only ['brain', 'csf', 'gm', 'wm']; name its "
            "file under masks in the phantom's config",
        ),
        (
            {"function": "pulseq_zero.optimization.losses:contrast", "settings": {"share": 1.5}},
            "no pixel of 32 x 32 lies to 1.5 in region 'csf', at most to 0.84; ask for a smaller "
            "share, refine the image or choose another slice",
        ),
        (
            {"function": "pulseq_zero.optimization.losses:image_and_sar"},
            "the loss counts the parameter 'flip_angles' as flip angles, but the parameters are []",
        ),
    ],
)
def test_loss_makers(tmp_path, small_brain, loss, message):
    (tmp_path / "losses.py").write_text(LOSSES)
    context = LossContext(small_brain, torch.ones(32, 32, dtype=torch.complex64), {})
    check(lambda: make_loss(LossSettings(**loss), context), message)

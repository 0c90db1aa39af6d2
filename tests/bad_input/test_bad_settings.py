"""What is given in Python and cannot be meant, whichever of the library's functions gets it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import pulseq_zero
from pulseq_zero.imaging.acquisition import Reconstruction
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from support.refusal import check
from support.toy import inversion_recovery, one_voxel, signal_loss

ALONG = "along x and y, and z of a volume"


def modelled(**settings):
    return pulseq_zero.ImagingModel(inversion_recovery, one_voxel(), **settings)


def simulated(**settings):
    return pulseq_zero.simulate(inversion_recovery(), one_voxel(), **settings)


def optimized(function=inversion_recovery, loss=signal_loss, phantom=None, **settings):
    given = {"iterations": 1, "progress": False, **settings}
    return optimize(function, loss, {"TI": 1.0}, phantom or one_voxel(), **given)


@pytest.mark.parametrize("use", [modelled, simulated, optimized])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            ("matrix", value, f"matrix is {shown}, but must be numbers of pixels {ALONG}")
            for value, shown in (
                ("64", "'64'"),
                (64, "64"),
                ((64,), "(64,)"),
                ((-1, 64), "(-1, 64)"),
                ((64.5, 64), "(64.5, 64)"),
                ((None, None), "(None, None)"),
                ((float("nan"), 64), "(nan, 64)"),
                ((1,) * 5, "(1, 1, 1, 1, 1)"),
            )
        ),
        *(
            ("fov", value, f"fov is {shown}, but must be lengths in m {ALONG}")
            for value, shown in (
                ("0.2", "'0.2'"),
                (0.2, "0.2"),
                ((0.2,), "(0.2,)"),
                ((0.2, -0.2), "(0.2, -0.2)"),
                ((0.2, "0.2"), "(0.2, '0.2')"),
                ((float("inf"), 0.2), "(inf, 0.2)"),
                ((0.2,) * 4, "(0.2, 0.2, 0.2, 0.2)"),
            )
        ),
        *(
            ("accuracy", value, f"accuracy is {shown}, but must be a number")
            for value, shown in (
                ("1e-3", "'1e-3'"),
                (None, "None"),
                ([1e-3], "[0.001]"),
                (1j, "1j"),
                (True, "True"),
                (float("nan"), "nan"),
            )
        ),
        ("accuracy", 5.0, "accuracy is 5.0, but must lie between 0 and 1"),
        *(
            (
                "simulation",
                value,
                f"simulation is {shown}, but must be a mapping of names to values",
            )
            for value, shown in (([], "[]"), ("cpu", "'cpu'"), (3, "3"), ({1: 2}, "{1: 2}"))
        ),
        *(
            (
                "simulation",
                {name: 1},
                f"the simulation has no setting {name!r}; its settings are device, dtype, engine, "
                "memory, thresholds, initial, pulse_relaxation, backend",
            )
            for name in ("fast", "accuracy")
        ),
        ("simulation", {"device": 3.5}, "device is 3.5, but must be 'cpu' or 'cuda'"),
        ("simulation", {"memory": "big"}, "memory is 'big', but must be a number"),
        ("simulation", {"memory": -5}, "memory is -5 bytes, but at least 1 MiB is needed"),
        ("simulation", {"thresholds": 3}, "thresholds is 3, but must be Thresholds"),
        ("simulation", {"backend": "fast"}, "backend is 'fast', but must be a Backend"),
        (
            "simulation",
            {"initial": "full"},
            "initial is 'full', but must be a tensor with a number for each of the 1 voxels",
        ),
        ("reconstruction", 3, "reconstruction is 3, but must be a function"),
        ("reconstruction", np.ones((2, 1)), None),
        (
            "pulses",
            ["played"],
            "pulses is ['played'], but must be one of ('played', 'instantaneous')",
        ),
    ],
)
def test_settings_of_all_that_simulate(use, name, value, message):
    if message is None:
        message = f"{name} is array([[1.], [1.]]), but must be a function"
    check(lambda: use(**{name: value}), message)


@pytest.mark.parametrize("use", [modelled, optimized])
@pytest.mark.parametrize("value", [[], "TE", 3, {1: 2}])
def test_arguments_that_are_none(use, value):
    check(
        lambda: use(arguments=value),
        f"arguments is {value!r}, but must be a mapping of names to values",
    )


def test_an_image_that_fits_into_no_memory():
    """Neither what is asked for, nor what a field of view takes."""
    repetitions = pulseq_zero.convert(inversion_recovery())
    for matrix, fov, size in (
        ((10**9, 10**9), (0.2, 0.2), "1000000000 x 1000000000"),
        (None, (1e9, 0.2), "40000000000 x 1"),
    ):
        check(
            lambda: Reconstruction.of(repetitions, one_voxel(), matrix=matrix, fov=fov),  # noqa: B023
            f"an image of {size} pixels fits into no memory; give a smaller matrix or field of "
            "view",
        )


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "None"), ("brain", "'brain'"), ({}, "{}"), (np.ones((2, 1)), "array([[1.], [1.]])")],
)
def test_phantoms_of_a_simulator(given, shown):
    check(
        lambda: pulseq_zero.Simulator(given),
        f"the phantom must be MRzeroCore's SimData, not {shown}; Phantom.simulation_data() makes "
        "it of a Phantom",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "parameters is None, but must be a mapping of names to values"),
        ([1.0], "parameters is [1.0], but must be a mapping of names to values"),
        ({1: 1.0}, "parameters is {1: 1.0}, but must be a mapping of names to values"),
        ({"TI": "x"}, "parameter 'TI' is 'x', but must be a number or numbers"),
        ({"TI": None}, "parameter 'TI' is None, but must be a number or numbers"),
        ({"TI": [[1], [1, 2]]}, "parameter 'TI' is [[1], [1, 2]], but must be a number or numbers"),
        ({"TI": {}}, "parameter 'TI' is {}, but must be a number or numbers"),
    ],
)
def test_parameters_of_a_model(values, message):
    check(lambda: modelled()(values), message)


def test_a_parameter_of_a_model_that_no_float_holds():
    with pytest.raises(pulseq_zero.PulseqZeroError, match=r"^parameter 'TI' is 1000.*must be"):
        modelled()({"TI": 10**400})


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        (
            3,
            {},
            "the sequence function must be a function, not 3; of a file, "
            "pulseq_zero.files.loading.load_function makes one",
        ),
        (
            inversion_recovery,
            [1.0],
            "parameters is [1.0], but must be a mapping of names to values",
        ),
        (inversion_recovery, {"TI": 1.0}, "parameter 'TI' is 1.0, but must be a tensor"),
    ],
)
def test_traces(function, parameters, message):
    check(lambda: pulseq_zero.trace(function, parameters), message)


def test_a_system_that_is_none():
    inversion_recovery().write("a.seq")
    check(
        lambda: pulseq_zero.simulate("a.seq", one_voxel(), system=3),
        "system is 3, but must be a pypulseq.Opts",
    )


def fails(*_):
    raise ZeroDivisionError("no")


def leaves(*_):
    sys.exit(3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("callback", {}),
        ("optimizer", {}),
        ("scheduler", {}),
        ("module_optimizer", {"modules": torch.nn.Linear(1, 1)}),
        ("phantom", {}),
        ("reconstruction", {}),
    ],
)
@pytest.mark.parametrize(
    ("function", "what"), [(fails, "ZeroDivisionError: no"), (leaves, "SystemExit: 3")]
)
def test_functions_that_fail(name, settings, function, what):
    called = "the reconstruction" if name == "reconstruction" else name
    check(
        lambda: optimized(**settings, **{name: function}),
        f"{called} fails: {what} (test_bad_settings.py, line N)",
    )


@pytest.mark.parametrize("made", [None, 3, "adam", torch.ones(2)])
def test_functions_that_make_no_optimizer(made):
    shown = "tensor([1., 1.])" if isinstance(made, torch.Tensor) else repr(made)
    for name, settings in (
        ("optimizer", {}),
        ("module_optimizer", {"modules": [torch.nn.Linear(1, 1)]}),
    ):
        check(
            lambda: optimized(**settings, **{name: lambda _: made}),  # noqa: B023
            f"{name} makes {shown}, but must make an optimizer of torch, such as torch.optim.Adam",
        )
    check(
        lambda: optimized(scheduler=lambda _: made),
        f"scheduler makes {shown}, but must make a scheduler of torch",
    )


def test_a_callback_whose_answer_is_neither_yes_nor_no():
    with pytest.raises(
        pulseq_zero.PulseqZeroError, match="callback fails: RuntimeError: Boolean value of Tensor"
    ):
        optimized(callback=lambda _: torch.ones(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": None}, "modules must be torch.nn.Module, not None"),
        ({"modules": 3}, "modules must be torch.nn.Module, not 3"),
        ({"modules": [3]}, "modules must be torch.nn.Module, not 3"),
        ({"checkpoint": 3}, "checkpoint is 3, but must be the path of a file"),
        ({"checkpoint": {}}, "checkpoint is {}, but must be the path of a file"),
        ({"learning_rate": None}, "learning_rate is None, but must be a number"),
        (
            {"method": ["adam"]},
            "there is no method ['adam']; the methods are 'adam', 'rprop' and 'lbfgs'",
        ),
        ({"iterations": np.ones((2, 1))}, None),
    ],
)
def test_settings_of_an_optimization(settings, message):
    if message is None:
        message = "iterations is array([[1.], [1.]]), but must be a whole number"
    check(lambda: optimized(**settings), message)


def test_a_learning_rate_of_a_parameter():
    check(
        lambda: Parameter(1.0, learning_rate="fast"), "learning_rate must be a number, not 'fast'"
    )

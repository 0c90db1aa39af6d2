"""What is given in Python and cannot be meant, whichever of the library's functions gets it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pulseq_zero
from pulseq_zero.files.loading import load_function
from pulseq_zero.files.sources import own_files
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


def test_a_field_of_view_with_more_pixels_than_samples_make():
    repetitions = pulseq_zero.convert(inversion_recovery())
    check(
        lambda: Reconstruction.of(repetitions, one_voxel(), matrix=None, fov=(2e5, 0.2)),
        "8 samples of a field of view of 200000 x 0.2 m would make an image of 8000000 x 1 pixels; "
        "give the field of view in m, or a matrix",
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


@pytest.mark.parametrize("flip", [1e6, 1e30])
def test_pulses_that_no_scanner_plays(flip):
    with pytest.raises(
        pulseq_zero.PulseqZeroError, match=r"^a pulse of 1 ms turns spins by .* too much to follow"
    ):
        modelled()({"TI": 1.0, "flip": flip})


def test_pulses_of_more_pieces_than_there_is_memory():
    check(
        lambda: pulseq_zero.convert(inversion_recovery(), sub_pulses=10**9),
        "a pulse of 1 ms takes 4e+09 samples to follow; lower its frequency offset, or the number "
        "of its sub-pulses",
    )


REPETITIONS = pulseq_zero.convert(inversion_recovery())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: modelled()({"TI": torch.tensor(1 + 1j)}),
            "parameter 'TI' is complex, but must hold real numbers",
        ),
        *(
            (
                lambda value=value: pulseq_zero.trace(inversion_recovery, {"TI": value}),
                "a sparse or a meta tensor cannot be traced; pass one that holds its numbers, as "
                "to_dense() makes it",
            )
            for value in (torch.ones((), device="meta"), torch.ones(1).to_sparse())
        ),
        (
            lambda: pulseq_zero.trace(inversion_recovery, {"TE": torch.ones(())}),
            "inversion_recovery has no argument 'TE'; its arguments are TI, flip",
        ),
        (
            lambda: pulseq_zero.trace(inversion_recovery, {"TI": torch.ones(())}, {"TI": 1.0}),
            "'TI' is both a parameter and an argument; remove one",
        ),
        (
            lambda: pulseq_zero.trace(inversion_recovery, {}, [1]),
            "arguments is [1], but must be a mapping of names to values",
        ),
        *(
            (
                lambda given=given: pulseq_zero.Simulator(one_voxel())(given),
                f"the sequence must be Repetitions, not {given!r}; pulseq_zero.convert makes them "
                "of a pypulseq.Sequence",
            )
            for given in (None, "a.seq")
        ),
        (
            lambda: replace(REPETITIONS, shim=torch.ones(2) * 1j),
            "shim has shape (2,), but (2, channels) was expected",
        ),
        (
            lambda: replace(REPETITIONS, labels={"SLC": torch.ones(3)}),
            "label SLC has shape (3,), but (8,) was expected",
        ),
        (
            lambda: replace(REPETITIONS, pulse_angle=REPETITIONS.pulse_angle * 1j),
            "pulse_angle is complex, but must hold real numbers",
        ),
        (
            lambda: simulated().with_signal(np.ones((8, 1))),
            "signal must be a complex tensor, not array([[1.], [1.], [1.],... [1.], [1.], [1.]])",
        ),
        (
            lambda: simulated().with_signal(torch.ones(3, 1) * 1j),
            "signal has 3 samples, but 8 were expected",
        ),
        (
            lambda: simulated().reconstructed_by(3),
            "reconstruction is 3, but must be a function",
        ),
        *(
            (
                lambda kspace=kspace: pulseq_zero.reconstruct(
                    torch.ones(8, 1) * 1j, kspace, (8, 1), (0.2, 0.2)
                ),
                message,
            )
            for kspace, message in (
                (torch.full((8, 4), torch.nan), "kspace holds values that are not finite"),
                (None, "kspace must be a tensor of real numbers, not None"),
            )
        ),
        (
            lambda: pulseq_zero.reconstruct(
                torch.ones(8, 1) * 1j, torch.ones(8, 4), (10**6, 10**6), (0.2, 0.2)
            ),
            "an image of 1000000 x 1000000 pixels fits into no memory; give a smaller matrix or "
            "field of view",
        ),
        (
            lambda: pulseq_zero.crlb(torch.ones(3), 1.0),
            "jacobian must be a tensor (samples, coils, maps, voxels), not tensor([1., 1., 1.]); "
            "Simulator.jacobian makes it",
        ),
        (
            lambda: pulseq_zero.crlb(torch.ones(1, 1, 1, 1), -1.0),
            "deviation is -1.0, but must be above 0",
        ),
        *(
            (
                lambda name=name: optimized(**{name: 10**400}),
                None,
            )
            for name in ("accuracy", "noise", "learning_rate", "checkpoint_seconds")
        ),
        (lambda: Parameter(1.0, upper=10**400), None),
        (lambda: Parameter(1.0, in_sequence="no"), "in_sequence must be True or False, not 'no'"),
    ],
)
def test_what_is_not_what_it_should_be(act, message):
    if message is None:
        with pytest.raises(pulseq_zero.PulseqZeroError, match="must be a number"):
            act()
    else:
        check(act, message)


def test_a_phantom_of_inference_mode():
    with torch.inference_mode():
        check(
            lambda: pulseq_zero.Simulator(one_voxel()),
            "the phantom was made inside of torch.inference_mode(), where no change of its maps is "
            "seen; use torch.no_grad() instead",
        )


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_names_of_files_that_no_system_takes(name):
    for act in (
        lambda: optimized(checkpoint=name, checkpoint_seconds=0.0),
        lambda: pulseq_zero.build_phantom({"source": "npz", "file": f"{name}.npz"}),
        lambda: pulseq_zero.build_phantom({"source": "mr0_json", "file": f"{name}.json"}),
        lambda: pulseq_zero.build_phantom({"definition": f"{name}.yaml"}),
        lambda: pulseq_zero.script(f"{name}.py", ["TI"]),
        lambda: load_function(f"{name}.py:f"),
    ):
        with pytest.raises(pulseq_zero.PulseqZeroError):
            act()


def test_long_text_that_ends_like_a_file():
    """A docstring whose last word is one."""
    Path("own.py").write_text(f'"""{"It does what is described in " * 20}write_gre.py"""\n')
    assert own_files(Path("own.py")) == [Path("own.py").resolve()]


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


NETWORK = torch.nn.Linear(1, 1)


def trained(parameters, image):
    return NETWORK(image.abs().sum().reshape(1)).square().sum()


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"optimizer": torch.optim.LBFGS},
            r"the step of the optimizer fails: TypeError: .*'closure'",
        ),
        (
            {"optimizer": torch.optim.SparseAdam},
            "the step of the optimizer fails: RuntimeError: SparseAdam does not support dense",
        ),
        (
            {
                "loss": trained,
                "modules": NETWORK,
                "module_optimizer": torch.optim.LBFGS,
            },
            r"the step of the module optimizer fails: TypeError: .*'closure'",
        ),
    ],
)
def test_optimizers_that_cannot_make_a_step(settings, message):
    with pytest.raises(pulseq_zero.PulseqZeroError, match=f"^{message}"):
        optimized(**settings)


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

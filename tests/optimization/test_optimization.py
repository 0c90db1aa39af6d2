"""The one call: known optima, verification, resumption, and clear refusals."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from pulseq_zero.errors import NotFiniteError, OptimizationError, SequenceError
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.simulation import Simulator
from support.toy import T1, inversion_recovery, negative_signal_loss, one_voxel, signal_loss

QUIET = {"progress": False, "matrix": (8, 1)}


@pytest.fixture(scope="module")
def voxel():
    return one_voxel()


def run(voxel, loss=signal_loss, parameters=None, **settings):
    given = {"TI": Parameter(0.6, 0.02, 3.0, 0.02)} if parameters is None else parameters
    return optimize(inversion_recovery, loss, given, voxel, **{**QUIET, **settings})


@pytest.mark.parametrize(("method", "iterations"), [("adam", 120), ("rprop", 50), ("lbfgs", 12)])
def test_the_null_of_inversion_recovery_is_found(voxel, method, iterations):
    result = run(voxel, method=method, iterations=iterations)
    assert float(result.best["TI"]) == pytest.approx(math.log(2) * T1, rel=0.01)
    assert result.history["loss"][result.best_iteration] < 1e-3 * result.history["loss"][0]


def test_an_ensemble_is_optimized_on_the_mean():
    def signal(TI, T1):
        return 1 - 2 * np.exp(-TI / T1)

    phantoms = [one_voxel(T1=0.8), one_voxel(T1=1.4)]
    result = run(phantoms, iterations=120)
    best = minimize_scalar(
        lambda TI: signal(TI, 0.8) ** 2 + signal(TI, 1.4) ** 2, bounds=(0.5, 1.0), method="bounded"
    )
    assert float(result.best["TI"]) == pytest.approx(best.x, rel=0.01)
    alone = [run(phantom, iterations=1).history["loss"][0] for phantom in phantoms]
    assert result.history["loss"][0] == pytest.approx(np.mean(alone), rel=1e-12)


def test_the_members_of_an_ensemble_may_have_losses_of_their_own(voxel):
    def named(parameters, image):
        return {"flip": parameters["flip"].square()}

    parameters = {"flip": Parameter(1.0, 0.1, 3.0, 0.05)}
    losses = [lambda p, i: {"flip": (p["flip"] - 1).square()}, named]
    result = run([voxel, voxel], losses, parameters, iterations=80)
    assert float(result.best["flip"]) == pytest.approx(0.5, abs=1e-3)
    assert result.history["flip"][0] == pytest.approx(0.5)


@pytest.mark.parametrize(("phantoms", "losses"), [(0, 1), (2, 3)])
def test_an_ensemble_that_does_not_fit_is_refused(voxel, phantoms, losses):
    with pytest.raises(OptimizationError, match="give one phantom or more"):
        run([voxel] * phantoms, [signal_loss] * losses)


def test_the_flip_angle_of_the_largest_signal_is_found(voxel):
    parameters = {"flip": Parameter(1.0, 0.1, 3.0, 0.05)}
    result = run(voxel, negative_signal_loss, parameters, iterations=60)
    assert float(result.best["flip"]) == pytest.approx(math.pi / 2, rel=0.01)


def test_several_parameters_and_named_terms(voxel):
    def loss(parameters, image):
        return {"signal": image.abs().sum(), "flip": (parameters["flip"] - 1.2).square()}

    parameters = {"TI": Parameter(0.6, 0.02, 3.0, 0.02), "flip": Parameter(1.0, learning_rate=0.01)}
    result = run(voxel, loss, parameters, iterations=30)
    assert list(result.history.columns[:6]) == [
        "iteration",
        "loss",
        "verified_loss",
        "accuracy",
        "signal",
        "flip",
    ]
    np.testing.assert_allclose(
        result.history["loss"], result.history["signal"] + result.history["flip"]
    )
    assert result.parameters["TI"].shape == (31,)
    assert float(result.at(30)["flip"]) == float(result.last["flip"])


def test_a_result_says_in_a_line_what_was_found(voxel):
    def loss(parameters, image):
        return image.abs().sum() + (parameters["flips"] - 1.2).square().sum()

    def several(TI=0.6, flips=(0.5, 0.5)):
        return inversion_recovery(TI, flips[0] + flips[1])

    parameters = {"TI": Parameter(0.6, 0.02, 3.0, 0.02), "flips": np.array([0.5, 0.6])}
    result = optimize(several, loss, parameters, voxel, iterations=2, **QUIET)
    assert re.fullmatch(
        r"OptimizationResult\(best iteration 2 of 2: loss \S+ -> \S+, TI 0\.6 -> \S+, "
        r"flips 0\.5\.\.0\.6 -> \S+\)",
        repr(result),
    )


@pytest.mark.parametrize("method", ["adam", "rprop", "lbfgs"])
def test_bounds_are_kept(voxel, method):
    parameters = {"TI": Parameter(0.6, 0.5, 0.65, 0.05)}
    result = run(voxel, parameters=parameters, method=method, iterations=15)
    assert bool(((result.parameters["TI"] >= 0.5) & (result.parameters["TI"] <= 0.65)).all())
    assert float(result.best["TI"]) == pytest.approx(0.65, abs=2e-3)


@pytest.fixture
def exploitable(monkeypatch):
    """Let signals fade with the sequence's length, the more the less accurate a simulation is."""
    right = Simulator.__call__

    def wrong(self, repetitions, graph=None):
        found = right(self, repetitions, graph)
        fading = torch.exp(-200 * self.accuracy * repetitions.event_time.sum())
        return dataclasses.replace(found, signal=found.signal * fading)

    monkeypatch.setattr(Simulator, "__call__", wrong)


def test_the_accuracy_is_raised_where_the_improvement_is_not_confirmed(voxel, exploitable):
    """The signal grows with TI, but the optimizer is told to shorten the sequence."""
    start = {"TI": Parameter(2.0, 0.02, 6.0, 0.05)}
    settings = {"accuracy": 1e-2, "iterations": 40, "verify_every": 5, "verify_accuracy": 1e-6}
    result = run(voxel, negative_signal_loss, start, **settings)
    accuracy = result.history["accuracy"]
    assert float(result.parameters["TI"][5]) < 1.9
    assert accuracy[5] == 1e-2
    assert accuracy[6] == pytest.approx(1e-3)
    assert accuracy.is_monotonic_decreasing
    assert float(result.best["TI"]) > 2.5
    verified = result.history["verified_loss"].dropna()
    assert verified.iloc[-1] < verified.iloc[0]


def test_the_accuracy_stays_where_improvements_are_confirmed(voxel):
    result = run(voxel, iterations=10, accuracy=1e-2, verify_every=2, verify_accuracy=1e-6)
    assert set(result.history["accuracy"]) == {1e-2}


def test_the_best_iteration_is_chosen_by_the_verified_loss(voxel):
    result = run(voxel, iterations=10, verify_every=4)
    verified = result.history["verified_loss"]
    assert verified.notna().to_numpy().nonzero()[0].tolist() == [0, 4, 8, 10]
    assert result.best_iteration == verified.idxmin()


def test_the_first_step_is_the_learning_rate(voxel):
    result = run(voxel, iterations=1)
    assert float(result.last["TI"] - result.at(0)["TI"]) == pytest.approx(0.02, rel=1e-3)


class KilledError(BaseException):
    pass


class Life:
    """How often a loss was computed, and how often it may be."""

    calls, allowed = 0, math.inf


@pytest.mark.parametrize("method", ["adam", "rprop", "lbfgs"])
@pytest.mark.parametrize("killed_at", [1, 6, 11])
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(voxel, tmp_path, method, killed_at):
    # L-BFGS evaluates several times an iteration, so that it dies in the midst of one
    life = Life()
    life.allowed = killed_at

    def loss(parameters, image):
        life.calls += 1
        if life.calls > life.allowed:
            raise KilledError
        return signal_loss(parameters, image) * torch.rand(())

    settings = {"method": method, "iterations": 12, "seed": 3, "checkpoint_seconds": 0.0}
    checkpoint = tmp_path / "c.safetensors"
    with pytest.raises(KilledError):
        run(voxel, loss, checkpoint=checkpoint, **settings)
    life.allowed = math.inf
    resumed = run(voxel, loss, checkpoint=checkpoint, **settings)
    straight = run(voxel, loss, **settings)
    assert torch.equal(resumed.parameters["TI"], straight.parameters["TI"])
    columns = ["iteration", "loss"]
    assert resumed.history[columns].equals(straight.history[columns])
    assert resumed.best_iteration == straight.best_iteration


def test_a_checkpoint_of_other_settings_is_refused(voxel, tmp_path):
    run(voxel, iterations=2, checkpoint=tmp_path / "c.safetensors")
    with pytest.raises(OptimizationError, match="other settings"):
        run(voxel, iterations=2, checkpoint=tmp_path / "c.safetensors", seed=1)
    with pytest.raises(OptimizationError, match="other settings"):
        run(voxel, negative_signal_loss, iterations=2, checkpoint=tmp_path / "c.safetensors")


def test_a_checkpoint_of_the_same_code_with_other_weights_is_refused(voxel, tmp_path):
    def weighted(weight):
        def loss(parameters, image):
            return weight * signal_loss(parameters, image)

        return loss

    checkpoint = tmp_path / "c.safetensors"
    run(voxel, weighted(1.0), iterations=2, checkpoint=checkpoint)
    run(voxel, weighted(1.0), iterations=2, checkpoint=checkpoint)
    for weight in (2.0, torch.tensor(1.5), torch.tensor([1.0])):
        with pytest.raises(OptimizationError, match="other settings"):
            run(voxel, weighted(weight), iterations=2, checkpoint=checkpoint)


def test_a_checkpoint_of_another_transmit_field_is_refused(voxel, tmp_path):
    run(voxel, iterations=2, checkpoint=tmp_path / "c.safetensors")
    weaker = one_voxel()
    weaker.B1 = 0.9 * weaker.B1
    with pytest.raises(OptimizationError, match="other settings"):
        run(weaker, iterations=2, checkpoint=tmp_path / "c.safetensors")


def test_more_iterations_continue_a_finished_run(voxel, tmp_path):
    run(voxel, iterations=3, checkpoint=tmp_path / "c.safetensors")
    longer = run(voxel, iterations=6, checkpoint=tmp_path / "c.safetensors")
    straight = run(voxel, iterations=6)
    assert torch.equal(longer.parameters["TI"], straight.parameters["TI"])


def no_gradient(parameters, image):
    return torch.tensor(float(image.abs().sum()))


def only_flip(parameters, image):
    return parameters["flip"].square() + 0 * image.abs().sum().detach()


@pytest.mark.parametrize(
    ("loss", "parameters", "settings", "error", "message"),
    [
        (lambda p, x: x.abs(), None, {}, OptimizationError, r"shape \(8, 1\).*scalar"),
        (lambda p, x: x.sum(), None, {}, OptimizationError, "real scalar"),
        (lambda p, x: 1.0, None, {}, OptimizationError, "returned 1.0"),
        (lambda p, x: {}, None, {}, OptimizationError, "no terms"),
        (no_gradient, None, {}, OptimizationError, "has no gradient"),
        (only_flip, {"TI": 0.6, "flip": 1.0}, {}, OptimizationError, "'TI' has no effect"),
        (lambda p, x: x.abs().sum() * math.nan, None, {}, OptimizationError, "loss is nan in iter"),
        (signal_loss, {"TE": 1.0}, {}, SequenceError, "no argument 'TE'; its arguments are TI"),
        (signal_loss, None, {"iterations": 0}, OptimizationError, "iterations is 0"),
        (signal_loss, None, {"verify_every": 0}, OptimizationError, "verify_every is 0"),
        (signal_loss, None, {"verify_share": 2}, OptimizationError, "verify_share is 2"),
        (signal_loss, None, {"method": "sgd"}, OptimizationError, "'adam', 'rprop' and 'lbfgs'"),
        (signal_loss, {}, {}, OptimizationError, "no parameters"),
        (
            signal_loss,
            None,
            {"steps": 9},
            OptimizationError,
            "no setting 'steps'; its settings are",
        ),
        (signal_loss, None, {"on_not_finite": "ignore"}, OptimizationError, "'stop' or 'halve'"),
    ],
)
def test_what_cannot_be_meant_is_refused(voxel, loss, parameters, settings, error, message):
    with pytest.raises(error, match=message):
        run(voxel, loss, parameters, **settings)


@pytest.mark.parametrize("flip", [0.0, math.pi])
def test_a_parameter_at_the_top_of_its_effect_is_not_called_without_one(voxel, flip):
    """The squared signal is even about both angles: no slope there, but an effect.

    As long as nothing relaxes during the pulse.
    """

    def loss(parameters, image):
        return image.abs().square().sum()

    with pytest.raises(OptimizationError, match="no slope by parameter 'flip' at its start value"):
        run(voxel, loss, {"flip": flip}, simulation={"pulse_relaxation": 1.0})


def finite_below(limit, optimum=2.0):
    """Take a loss that is not finite behind a wall."""

    def loss(parameters, image):
        wall = torch.where(parameters["TI"] < limit, 0.0, math.inf)
        return 100 * (parameters["TI"] - optimum).square() + wall + 0 * image.abs().sum()

    return loss


@pytest.mark.parametrize("method", ["adam", "rprop", "lbfgs"])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_checkpoint(voxel, tmp_path, method):
    checkpoint = tmp_path / "c.safetensors"
    parameters = {"TI": Parameter(0.6, 0.02, 30.0, 0.1)}
    settings = {"method": method, "checkpoint": checkpoint, "checkpoint_seconds": 0.0}
    with pytest.raises(NotFiniteError) as caught:
        run(voxel, finite_below(1.0), parameters, iterations=30, **settings)
    assert re.match(r"the loss is inf in iteration \d+ at TI = \d", str(caught.value))
    saved = f"; the last good checkpoint is {checkpoint}"
    assert str(caught.value).endswith(saved) == checkpoint.exists()
    # The others have made steps, L-BFGS meets the wall in its first line search
    assert checkpoint.exists() == (method != "lbfgs")


@pytest.mark.parametrize(("method", "rate"), [("adam", 0.1), ("rprop", 0.3), ("lbfgs", 0.1)])
def test_steps_to_a_loss_that_is_not_finite_are_halved(voxel, method, rate, caplog):
    parameters = {"TI": Parameter(0.6, 0.02, 30.0, rate)}
    settings = {"method": method, "iterations": 40, "on_not_finite": "halve"}
    result = run(voxel, finite_below(1.0, optimum=0.9), parameters, **settings)
    assert "the loss is inf in iteration" in caplog.text
    assert bool(result.history["loss"].map(math.isfinite).all())
    assert float(result.parameters["TI"].max()) < 1.0
    assert float(result.best["TI"]) == pytest.approx(0.9, abs=0.01)


def test_a_run_that_stopped_can_go_on_by_halving(voxel, tmp_path):
    parameters = {"TI": Parameter(0.6, 0.02, 30.0, 0.1)}
    settings = {"iterations": 8, "checkpoint_seconds": 0.0}
    loss, checkpoint = finite_below(1.0), tmp_path / "c.safetensors"
    with pytest.raises(NotFiniteError):
        run(voxel, loss, parameters, checkpoint=checkpoint, **settings)
    settings["on_not_finite"] = "halve"
    resumed = run(voxel, loss, parameters, checkpoint=checkpoint, **settings)
    straight = run(voxel, loss, parameters, **settings)
    assert torch.equal(resumed.parameters["TI"], straight.parameters["TI"])


def test_a_start_that_is_not_finite_cannot_be_halved(voxel):
    with pytest.raises(NotFiniteError, match=r"in iteration 0 at TI = 0\.6"):
        run(voxel, finite_below(0.5), on_not_finite="halve")


def test_infinite_gradient_is_named(voxel):
    def loss(parameters, image):
        return (parameters["TI"] - parameters["TI"].detach()).abs().sqrt() + image.abs().sum()

    with pytest.raises(OptimizationError, match="gradient of 'TI' is nan in iteration 0 at TI"):
        run(voxel, loss)

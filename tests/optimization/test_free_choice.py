"""What a user may choose freely: optimizers, schedules, bounds, networks, sequences, phantoms."""

import math

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import OptimizationError
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from support.refusal import check
from support.toy import inversion_recovery, negative_signal_loss, one_voxel, signal_loss

QUIET = {"progress": False, "matrix": (8, 1), "pulses": "instantaneous"}


@pytest.fixture(scope="module")
def voxel():
    return one_voxel()


def run(voxel, loss=signal_loss, parameters=None, function=inversion_recovery, **settings):
    given = {"TI": Parameter(0.6, 0.02, 3.0, 0.02)} if parameters is None else parameters
    return optimize(function, loss, given, voxel, **{**QUIET, **settings})


def distance(parameters):
    """Stand for any loss whose gradient is known: 2 (x - target)."""
    return (parameters["flip"] - 1.5).square().sum()


def test_any_optimizer_makes_its_own_steps(voxel):
    flip = {"flip": Parameter(1.0, learning_rate=0.1)}
    result = run(voxel, distance, flip, iterations=3, optimizer=torch.optim.SGD)
    # x <- x - 0.1 * 2 (x - 1.5)
    expected = 1.5 - 0.5 * 0.8 ** np.arange(4)
    np.testing.assert_allclose(result.parameters["flip"], expected, rtol=1e-6)


def test_a_scheduler_changes_the_learning_rate(voxel):
    flip = {"flip": Parameter(1.0, learning_rate=0.1)}
    result = run(
        voxel,
        distance,
        flip,
        iterations=3,
        optimizer=lambda groups: torch.optim.SGD(groups),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    )
    steps = 1 - 2 * np.array([0.1, 0.05, 0.025])
    expected = 1.5 - 0.5 * np.array([1, *np.cumprod(steps)])
    np.testing.assert_allclose(result.parameters["flip"], expected, rtol=1e-6)


def test_a_scheduler_may_look_at_the_loss(voxel):
    """A step too large makes the loss grow, and the learning rate a tenth."""
    result = run(
        voxel,
        distance,
        {"flip": Parameter(1.0, learning_rate=1.2)},
        iterations=3,
        optimizer=torch.optim.SGD,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0
        ),
    )
    # x - 1.5 <- (1 - 2 rate) (x - 1.5): twice by -1.4, then by 1 - 0.24
    expected = 1.5 - 0.5 * np.array([1, -1.4, 1.96, 1.96 * 0.76])
    np.testing.assert_allclose(result.parameters["flip"], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["adam", "rprop", "lbfgs"])
def test_each_element_has_its_own_bounds(voxel, method):
    def several(flips=(1.0, 1.0, 1.0)):
        return inversion_recovery(0.5, flips[0] + flips[1] + flips[2])

    lower, upper = torch.tensor([0.5, -math.inf, 0.7]), [1.1, 1.2, math.inf]
    flips = {"flips": Parameter(np.ones(3), lower, upper, 0.05)}

    def loss(parameters):
        return (parameters["flips"] - torch.tensor([0.0, 2.0, 0.0])).square().sum()

    result = run(voxel, loss, flips, several, iterations=60, method=method)
    course = result.parameters["flips"]
    assert bool((course >= lower - 1e-12).all())
    assert bool((course <= torch.tensor(upper) + 1e-12).all())
    np.testing.assert_allclose(result.best["flips"], [0.5, 1.2, 0.7], atol=0.02)


def test_bounds_of_another_shape_are_refused():
    check(
        lambda: Parameter(np.ones(3), lower=np.zeros(2)),
        "lower has shape (2,), but must be a number or have the shape of the start values, (3,)",
    )
    check(
        lambda: Parameter(np.ones(2), np.array([0.0, 2.0])),
        "a start value lies outside the bounds from [0.0, 2.0] to inf",
    )


@pytest.mark.parametrize(
    "start", [1.0, np.float32(1.0), torch.tensor(1.0, requires_grad=True), torch.ones(()) * 1]
)
def test_whatever_is_a_number_is_a_parameter(voxel, start):
    result = run(voxel, distance, {"flip": start}, iterations=2)
    assert result.history["loss"].iloc[-1] < result.history["loss"][0]
    model = ImagingModel(inversion_recovery, voxel, matrix=(8, 1))
    there = model({"flip": torch.tensor(1.0, dtype=torch.float64)}).image
    assert torch.equal(model({"flip": start}).image.detach(), there)


def test_a_callback_sees_each_iteration_and_may_end_it(voxel):
    states = []

    def callback(state):
        states.append(state)
        return state.iteration == 3

    result = run(voxel, iterations=50, callback=callback)
    assert [state.iteration for state in states] == [0, 1, 2, 3]
    assert len(result.history) == 4 and not result.interrupted
    np.testing.assert_array_equal([s.loss for s in states], result.history["loss"])
    acquired = states[-1].acquired[0]
    loss = float(signal_loss({}, acquired.image))
    assert loss == pytest.approx(states[-1].loss)
    assert torch.equal(states[2].values["TI"], result.at(2)["TI"])


def test_an_interrupt_returns_what_there_is(voxel, tmp_path):
    def interrupting(parameters, image, iteration):
        if iteration == interrupting.at:
            raise KeyboardInterrupt
        return signal_loss(parameters, image)

    interrupting.at = 4
    settings = {"iterations": 8, "checkpoint": tmp_path / "c.safetensors", "checkpoint_seconds": 0}
    result = run(voxel, interrupting, **settings)
    assert result.interrupted and len(result.history) == 4
    interrupting.at = None
    whole = run(voxel, interrupting, **settings)
    straight = run(voxel, interrupting, iterations=8)
    assert torch.equal(whole.parameters["TI"], straight.parameters["TI"])
    interrupting.at = 0
    with pytest.raises(KeyboardInterrupt):
        run(voxel, interrupting)


def gain():
    """Make a network of one number."""
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        net.weight.fill_(1.0)
    return net


def scaled_to_three(net):
    def loss(parameters, image):
        return (net.weight.sum() * image.abs().sum() - 3.0).square()

    return loss


def test_a_network_is_trained_along(voxel, tmp_path):
    """The best gain is that which makes the signal three, whatever the flip angle."""

    def trained(checkpoint, **changes):
        net = gain()
        settings = {
            "modules": [net],
            "module_optimizer": lambda tensors: torch.optim.Adam(tensors, lr=0.3),
            "iterations": 60,
            "checkpoint": checkpoint,
            "checkpoint_seconds": 0.0,
        }
        flip = {"flip": Parameter(0.8, 0.1, 3.0, 0.01)}
        return net, run(voxel, scaled_to_three(net), flip, **{**settings, **changes})

    net, result = trained(None)
    assert result.history["loss"].min() < 1e-2 * result.history["loss"][0]
    assert torch.equal(result.modules[0]["weight"], net.weight)
    with torch.no_grad():
        image = ImagingModel(inversion_recovery, voxel, matrix=(8, 1), pulses="instantaneous")(
            result.best
        ).image
        there = float(scaled_to_three(net)({}, image))
    assert there == pytest.approx(result.history["loss"].min(), rel=1e-3, abs=1e-9)
    checkpoint = tmp_path / "c.safetensors"
    trained(checkpoint, callback=lambda state: state.iteration == 20)
    resumed_net, resumed = trained(checkpoint)
    assert torch.equal(resumed_net.weight, net.weight)
    assert torch.equal(resumed.parameters["flip"], result.parameters["flip"])


def test_the_verification_sees_the_network_of_its_iteration(voxel):
    net = gain()
    flip = {"flip": Parameter(0.8, 0.1, 3.0, 0.01)}
    result = run(
        voxel, scaled_to_three(net), flip, modules=[net], iterations=4, verify_every=2,
        module_optimizer=lambda tensors: torch.optim.SGD(tensors, lr=0.05),
    )  # fmt: skip
    verified = result.history.dropna()
    assert len(verified) == 3
    np.testing.assert_allclose(verified["verified_loss"], verified["loss"], rtol=1e-2)


def test_a_network_that_nobody_trains_is_an_error(voxel):
    message = (
        "the loss depends on a trainable tensor of shape (1, 1) that nobody trains; give its "
        "network by modules=[...], make it a Parameter with in_sequence=False, or keep it as it is "
        "by requires_grad_(False)"
    )
    flip = {"flip": Parameter(0.8)}
    check(lambda: run(voxel, scaled_to_three(gain()), flip, iterations=1), message)

    net = gain()

    def through(acquisition):
        return acquisition.image * net.weight.sum()

    check(lambda: run(voxel, reconstruction=through, iterations=1), message)


def test_an_own_reconstruction_makes_the_image(voxel):
    seen = []

    def doubled(acquisition):
        seen.append(acquisition.coil_images.shape)
        return 2 * acquisition.image

    plain = run(voxel, iterations=1)
    own = run(voxel, iterations=1, reconstruction=doubled)
    np.testing.assert_allclose(own.history["loss"], 4 * plain.history["loss"], rtol=1e-6)
    assert seen[0] == (1, 8, 1)


def test_a_parameter_of_the_loss_alone_is_optimized(voxel):
    def loss(parameters, image):
        return (parameters["flip"] - parameters["target"]).square() + (
            parameters["target"] - 1.2
        ).square()

    parameters = {
        "flip": Parameter(1.0, learning_rate=0.05),
        "target": Parameter(2.0, learning_rate=0.05, in_sequence=False),
    }
    result = run(voxel, loss, parameters, iterations=100)
    assert float(result.best["target"]) == pytest.approx(1.2, abs=0.02)
    assert float(result.best["flip"]) == pytest.approx(1.2, abs=0.02)


def longer(TI=0.5, flip=np.pi / 2, pause=0.1):
    seq = inversion_recovery(TI, flip)
    seq.add_block(pp.make_delay(pause))
    return seq


def test_several_sequences_share_parameters(voxel):
    """Each takes what it names; images and acquisitions have the sequences' names."""

    def loss(parameters, image, acquisition):
        assert list(image) == list(acquisition) == ["short", "long"]
        duration = acquisition["long"].sequence.duration - acquisition["short"].sequence.duration
        return {
            "signal": image["short"].abs().sum() + image["long"].abs().sum(),
            "duration": (duration - 0.4).square(),
        }

    parameters = {
        "TI": Parameter(0.6, 0.02, 3.0, 0.02),
        "pause": Parameter(0.1, 0.0, 1.0, 0.02),
    }
    functions = {"short": inversion_recovery, "long": longer}
    result = run(voxel, loss, parameters, functions, iterations=60)
    assert float(result.best["TI"]) == pytest.approx(math.log(2), rel=0.02)
    assert float(result.best["pause"]) == pytest.approx(0.4, abs=0.02)


def test_a_parameter_that_no_sequence_takes_is_refused(voxel):
    functions = {"short": inversion_recovery, "long": longer}
    check(
        lambda: run(voxel, signal_loss, {"TE": 1.0}, functions),
        "no sequence function has an argument 'TE'; if only the loss needs it, make it a Parameter "
        "with in_sequence=False",
    )


def test_the_phantom_may_be_another_in_each_iteration():
    asked = []

    def phantom(iteration):
        asked.append(iteration)
        return one_voxel(T1=0.8 if iteration % 2 else 1.4)

    result = run(phantom, iterations=4, verify_every=2)
    assert asked == [0, 1, 2, 3, 4]
    for T1, at in ((1.4, 0), (0.8, 1)):
        alone = ImagingModel(
            inversion_recovery, one_voxel(T1=T1), matrix=(8, 1), pulses="instantaneous"
        )
        expected = float(signal_loss({}, alone(result.at(at)).image))
        assert result.history["loss"][at] == pytest.approx(expected, rel=1e-6)


def test_phantoms_are_as_many_in_each_iteration():
    with pytest.raises(OptimizationError, match="returns 2 in iteration 1 and 1 before"):
        run(lambda iteration: [one_voxel()] * (1 + iteration), iterations=2)


def test_a_run_with_phantoms_by_iteration_is_resumed(tmp_path):
    def phantom(iteration):
        return one_voxel(T1=0.8 + 0.1 * iteration)

    checkpoint = tmp_path / "c.safetensors"
    run(phantom, iterations=2, checkpoint=checkpoint)
    resumed = run(phantom, iterations=4, checkpoint=checkpoint)
    assert torch.equal(resumed.parameters["TI"], run(phantom, iterations=4).parameters["TI"])


def test_noise_is_that_of_its_deviation_seed_and_iteration(voxel):
    def noise_of(seed, **settings):
        signals = []

        def callback(state):
            signals.append(state.acquired[0].signal.detach().clone())

        flip = {"flip": Parameter(1.0, learning_rate=1e-9)}
        run(voxel, negative_signal_loss, flip, seed=seed, callback=callback, **settings)
        return torch.stack(signals)

    clean = noise_of(0, iterations=100)
    noisy = noise_of(0, iterations=100, noise=0.05) - clean
    assert float(noisy.real.std()) == pytest.approx(0.05, rel=0.1)
    assert float(noisy.imag.std()) == pytest.approx(0.05, rel=0.1)
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(noise_of(0, iterations=2, noise=0.05) - clean[:3], noisy[:3])
    assert not torch.equal(noise_of(1, iterations=2, noise=0.05) - clean[:3], noisy[:3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "optimizer is 'adam', but must be a function"),
        ({"noise": -1.0}, "noise is -1.0, but must be zero or positive"),
        (
            {"method": "lbfgs", "scheduler": torch.optim.lr_scheduler.ConstantLR},
            "method 'lbfgs' searches along a line and knows no scheduler; leave it out, or take "
            "another optimizer",
        ),
        ({"modules": [3]}, "modules must be torch.nn.Module, not 3"),
        (
            {"modules": [torch.nn.ReLU()]},
            "the modules have nothing to train: no parameter of theirs requires a gradient",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(voxel, settings, message):
    with pytest.raises(OptimizationError) as caught:
        run(voxel, **settings)
    assert str(caught.value) == message

"""What losses may ask for, and that they get it."""

import functools
import math

import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import OptimizationError, SequenceError
from pulseq_zero.imaging.acquisition import Acquisition, acquire
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.optimization.loss import check_loss_function, evaluate_loss, loss_of
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter
from pulseq_zero.simulation import Simulator
from support.acquisitions import showing, toy
from support.refusal import check
from support.toy import inversion_recovery, one_voxel

IMAGE = torch.full((2, 3), 2.0 + 0j)
PARAMETERS = {"TI": torch.tensor(3.0)}


class Network(torch.nn.Module):
    def forward(self, image, iteration):
        return image.abs().mean() + iteration


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda parameters, image: parameters["TI"] + image.abs().mean(), 5.0),
        (lambda p, i: p["TI"] + i.abs().mean(), 5.0),
        (lambda *given: given[0]["TI"] + given[1].abs().mean(), 5.0),
        (lambda image, parameters: parameters["TI"] + image.abs().mean(), 5.0),
        (lambda values, image: values["TI"] + image.abs().mean(), 5.0),
        (lambda parameters: parameters["TI"], 3.0),
        (lambda image: image.abs().sum(), 12.0),
        (lambda acquisition: acquisition.image.abs().sum(), 12.0),
        (lambda p, *, iteration: p["TI"] + iteration, 10.0),
        (lambda p, image, weight=2.0: weight * p["TI"], 6.0),
        (functools.partial(lambda p, image, weight: weight * p["TI"], weight=3.0), 9.0),
        (Network(), 9.0),
    ],
)
def test_a_loss_gets_what_it_names(loss, expected):
    check_loss_function(loss)
    assert float(evaluate_loss(loss, PARAMETERS, showing(IMAGE), 7).total) == expected


def test_named_terms_are_added_up():
    def loss(parameters, image):
        return {"a": parameters["TI"], "b": image.abs().mean()}

    found = evaluate_loss(loss, PARAMETERS, showing(IMAGE))
    assert found.numbers == {"a": 3.0, "b": 2.0}
    assert loss_of(loss, PARAMETERS, showing(IMAGE)) == 5.0


def test_a_loss_that_asks_for_what_there_is_not_is_refused_before_anything_is_simulated():
    check(
        lambda: optimize(
            inversion_recovery, lambda parameters, image, noise: 0.0, {"TI": 1.0}, one_voxel()
        ),
        "the loss function asks for 'noise', which there is not; it may ask for parameters, "
        "image, acquisition and iteration",
    )
    with pytest.raises(OptimizationError, match="asks for 'weight'"):
        check_loss_function(lambda parameters, *, weight: 0.0)


def test_no_image_is_made_for_a_loss_that_asks_for_none():
    """A sequence whose samples are no image has a signal all the same."""

    def blind(flip=1.0):
        seq = pp.Sequence()
        for _ in range(2):
            seq.add_block(pp.make_block_pulse(flip, duration=1e-3, delay=1e-4, use="excitation"))
            seq.add_block(pp.make_adc(4, duration=1e-3))
            seq.add_block(pp.make_label("ECO", "INC", 1))
        return seq

    acquisition = ImagingModel(blind, one_voxel(), fov=(0.2, 0.2))({"flip": torch.tensor(1.0)})
    loss = evaluate_loss(lambda acquisition: acquisition.signal.abs().sum(), {}, acquisition)
    assert float(loss.total) > 0
    with pytest.raises(SequenceError, match="2 echoes"):
        evaluate_loss(lambda image: image.abs().sum(), {}, acquisition)


def test_duration_and_energy_are_those_of_the_blocks():
    """A block pulse of angle a and duration d has the energy a² / ((2πγ)² d)."""

    def loss(acquisition):
        cost = acquisition.sequence
        return {"duration": cost.duration, "energy": cost.rf_energy}

    values = {
        "TI": torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
        "flip": torch.tensor(1.0, dtype=torch.float64, requires_grad=True),
    }
    model = ImagingModel(inversion_recovery, one_voxel(), matrix=(8, 1))
    terms = evaluate_loss(loss, values, model(values)).terms
    gamma = pp.Opts().gamma
    energy = (math.pi**2 + 1.0) / (2 * math.pi * gamma) ** 2 / 1e-3
    assert terms["energy"].item() == pytest.approx(energy, rel=1e-9)
    assert terms["duration"].item() == pytest.approx(inversion_recovery(0.5, 1.0).duration()[0])
    slopes = [
        torch.autograd.grad(terms[term], values[name], retain_graph=True)[0]
        for term, name in (("duration", "TI"), ("energy", "flip"))
    ]
    assert float(slopes[0]) == pytest.approx(1.0)
    assert float(slopes[1]) == pytest.approx(2 / (2 * math.pi * gamma) ** 2 / 1e-3, rel=1e-9)


def test_gradients_are_the_waveforms():
    x = toy().sequence.gradients["x"]
    time, amplitude = x[:, 0], x[:, 1]
    expected, _, _, _, _ = inversion_recovery().waveforms_and_times()
    for t, value in zip(*expected[0], strict=True):
        nearest = int((time - t).abs().argmin())
        assert float(time[nearest]) == pytest.approx(t, abs=1e-9)
        assert float(amplitude[nearest]) == pytest.approx(value, abs=1e-3)


def test_a_parameter_that_only_scan_time_depends_on_is_optimized():
    def with_pause(TI=0.5, pause=0.5):
        seq = inversion_recovery(TI)
        seq.add_block(pp.make_delay(pause))
        return seq

    result = optimize(
        with_pause,
        lambda acquisition: (acquisition.sequence.duration - 1.2).square(),
        {"pause": Parameter(0.5, 0.0, 2.0, 0.02)},
        one_voxel(),
        iterations=40,
        progress=False,
    )
    expected = 1.2 - inversion_recovery(0.5).duration()[0]
    assert float(result.best["pause"]) == pytest.approx(expected, abs=0.01)


def test_what_is_first_asked_for_without_gradient_has_it_later():
    parameters = {"flip": torch.tensor(1.0, requires_grad=True)}
    acquisition = ImagingModel(inversion_recovery, one_voxel(), matrix=(8, 1))(parameters)
    with torch.no_grad():
        assert float(acquisition.image.abs().sum()) > 0
    assert acquisition.image.requires_grad


def test_repetitions_alone_do_not_tell_what_their_sequence_takes():
    repetitions = toy().repetitions
    acquisition = acquire(repetitions, Simulator(one_voxel()), matrix=(8, 1), fov=(0.2, 0.2))
    check(
        lambda: acquisition.sequence,
        "of this acquisition the repetitions are known, and not the sequence with its pulses; let "
        "a pulseq_zero.ImagingModel of the sequence function acquire it",
    )


def test_other_signals_and_images_leave_the_rest_alone():
    acquisition = toy()
    image = acquisition.image
    doubled = acquisition.with_signal(2 * acquisition.signal)
    torch.testing.assert_close(doubled.image, 2 * image)
    assert doubled.reconstruction is acquisition.reconstruction
    assert isinstance(acquisition.showing(IMAGE), Acquisition)
    assert acquisition.showing(IMAGE).image is IMAGE
    torch.testing.assert_close(acquisition.coil_images[0], image)

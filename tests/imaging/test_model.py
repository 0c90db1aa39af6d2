"""The image of a sequence whose pulses do not tell what they are for."""

import math
import warnings

import pypulseq as pp
import pytest
import torch

from pulseq_zero.imaging.model import ImagingModel
from support.toy import one_voxel


def gradient_echo(flip=0.3, use="undefined"):
    seq = pp.Sequence()
    gx = pp.make_trapezoid("x", flat_area=8.0, flat_time=1e-3)
    for _ in range(2):
        seq.add_block(pp.make_block_pulse(flip, duration=1e-3, delay=1e-4, use=use))
        seq.add_block(pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3))
        seq.add_block(gx, pp.make_adc(8, duration=1e-3, delay=gx.rise_time))
    return seq


def echo(refocus=80.0, use="undefined"):
    """Refocus by less than 100 degrees."""
    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(math.pi / 2, duration=1e-3, delay=1e-4, use="excitation"))
    gx = pp.make_trapezoid("x", flat_area=8.0, flat_time=1e-3)
    seq.add_block(pp.make_trapezoid("x", area=gx.area / 2, duration=1e-3))
    seq.add_block(
        pp.make_block_pulse(math.radians(1) * refocus, duration=1e-3, delay=1e-4, use=use)
    )
    seq.add_block(gx, pp.make_adc(8, duration=1e-3, delay=gx.rise_time))
    return seq


def test_a_pulse_without_use_that_counts_as_an_excitation_is_told_once():
    """It refocuses here, and the echo's k-space is not what it counts as."""
    model = ImagingModel(echo, one_voxel(), matrix=(8, 1), fov=(1.0, 1.0))
    with pytest.warns(UserWarning, match=r"the first being pulse 1, .*use='refocusing'"):
        guessed = model({"refocus": torch.tensor(80.0)}).repetitions.kspace()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model({"refocus": torch.tensor(81.0)})
        told = ImagingModel(
            echo, one_voxel(), arguments={"use": "refocusing"}, matrix=(8, 1), fov=(1.0, 1.0)
        )
        kspace = told({"refocus": torch.tensor(80.0)}).repetitions.kspace()
    assert kspace[:, 0].tolist() == pytest.approx([k - 3.5 for k in range(8)])
    assert float(guessed[0, 0]) > 0


@pytest.mark.parametrize("use", ["undefined", "excitation"])
def test_a_pulse_that_counts_as_another_all_of_a_sudden_is_told(use):
    model = ImagingModel(
        gradient_echo, one_voxel(), arguments={"use": use}, matrix=(8, 1), fov=(1.0, 1.0)
    )

    def image(degrees):
        return model({"flip": torch.tensor(math.radians(degrees))}).image

    if use == "undefined":
        with pytest.warns(UserWarning, match="2 of 2 pulses, .* count as excitations"):
            image(95.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image(95.0)
        image(99.0)
    if use == "undefined":
        with pytest.warns(UserWarning, match="pulse 0 has no use and has crossed 100 degrees"):
            image(101.0)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image(101.0)


@pytest.mark.parametrize("pulses", ["instantaneous", "played"])
def test_a_model_put_on_another_phantom_is_the_model_of_that_phantom(tse, small_brain, pulses):
    settings = {"accuracy": 1e-2, "pulses": pulses}
    model = ImagingModel(tse, small_brain.scaled(T2=0.5), **settings)
    before = model({}).image
    moved = model.on(small_brain)
    assert torch.equal(moved({}).image, ImagingModel(tse, small_brain, **settings)({}).image)
    assert torch.equal(model({}).image, before)
    assert moved.sequence_model is model.sequence_model

"""A model that recalls what another one remembers goes on as that one does, bit for bit."""

import math

import pypulseq as pp
import pytest
import torch

from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.phantom import build_phantom

PHANTOM = build_phantom({"source": "icbm152", "matrix": 48})
FLIPS = (math.pi / 2, *(2.4,) * 8)
ANGLES = torch.tensor(FLIPS, dtype=torch.float64)


def train(flips=FLIPS):
    """Refocus eight echoes."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    sequence = pp.Sequence(system)
    gx = pp.make_trapezoid("x", flat_area=80, flat_time=1.6e-3, system=system)
    adc = pp.make_adc(num_samples=16, dwell=1e-4, delay=gx.rise_time, system=system)
    crusher = pp.make_trapezoid("z", area=800, duration=1.5e-3, system=system)
    before = pp.make_trapezoid("x", area=gx.area / 2, duration=1.5e-3, system=system)
    for number, flip in enumerate(flips):
        pulse, gradient, back = pp.make_sinc_pulse(
            flip,
            duration=2e-3,
            slice_thickness=5e-3,
            delay=100e-6,
            phase_offset=0.0 if number else math.pi / 2,
            return_gz=True,
            use="refocusing" if number else "excitation",
            system=system,
        )
        sequence.add_block(pulse, gradient)
        if number == 0:
            area = crusher.area + back.area
            first = pp.make_trapezoid("z", area=area, duration=1.5e-3, system=system)
            sequence.add_block(before, first)
            continue
        area = 5.0 * (number - 4)
        sequence.add_block(crusher, pp.make_trapezoid("y", area=area, duration=1.5e-3))
        sequence.add_block(gx, adc)
        sequence.add_block(crusher, pp.make_trapezoid("y", area=-area, duration=1.5e-3))
    sequence.set_definition("FOV", [0.2, 0.2, 5e-3])
    return sequence


def image(model, change):
    parameters = {"flips": (ANGLES + change).requires_grad_()}
    return model(parameters).image.detach()


@pytest.mark.parametrize(("pulses", "accuracy"), [("instantaneous", 1e-2), ("played", 1e-2)])
def test_the_next_image_is_the_same(pulses, accuracy):
    first, second = (
        ImagingModel(train, PHANTOM, accuracy=accuracy, pulses=pulses) for _ in range(2)
    )
    image(first, 0.0)
    image(first, 0.01)
    memory = first.memory
    assert memory["graph"]["parameters"]["flips"].equal(ANGLES)
    second.recall(memory)
    assert image(second, 0.02).equal(image(first, 0.02))
    for model in (first, second):
        assert model.memory["graph"]["parameters"]["flips"].equal(ANGLES)


def test_another_accuracy_forgets():
    model = ImagingModel(train, PHANTOM, accuracy=1e-2)
    image(model, 0.0)
    model.use_accuracy(1e-3)
    assert model.memory["graph"] is None

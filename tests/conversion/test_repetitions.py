import dataclasses
import math

import pytest
import torch

from pulseq_zero.conversion.repetitions import Repetitions, repetitions_from_mr0
from pulseq_zero.errors import SequenceError


def three_pulses() -> Repetitions:
    generator = torch.Generator().manual_seed(1)
    events = 9
    return Repetitions(
        pulse_angle=torch.tensor([math.pi / 2, math.pi, 0.3]),
        pulse_phase=torch.tensor([0.0, 0.5, 1.0]),
        pulse_use=("excitation", "refocusing", "undefined"),
        event_count=(2, 4, 3),
        event_time=torch.rand(events, generator=generator),
        gradient_moment=torch.randn(events, 3, generator=generator),
        adc_phase=torch.rand(events, generator=generator),
        adc_usage=torch.tensor([0, 1, 1, 0, 1, 0, 1, 0, 1]),
    )


def test_kspace_is_mrzerocores():
    repetitions = three_pulses()
    expected = repetitions.to_mr0().get_kspace()
    torch.testing.assert_close(repetitions.kspace().float(), expected, atol=1e-5, rtol=1e-5)


def test_kspace_has_the_gradient_of_its_moments():
    repetitions = three_pulses()
    moments = repetitions.gradient_moment.double().requires_grad_()
    changed = repetitions.map(lambda t: moments if t is repetitions.gradient_moment else t)
    # The third sample lies behind a refocusing pulse: moments before it count backwards
    (slope,) = torch.autograd.grad(changed.kspace()[2, 0], moments)
    assert slope[:, 0].tolist() == [-1, -1, 1, 1, 1, 0, 0, 0, 0]


def test_sums_begin_anew_with_every_pulse():
    running, total = three_pulses().sums_within_repetitions(torch.ones(9))
    assert running.tolist() == [1, 2, 1, 2, 3, 4, 1, 2, 3]
    assert total.tolist() == [2, 4, 3]


def test_round_trip_through_mrzerocore():
    repetitions = three_pulses()
    back = repetitions_from_mr0(repetitions.to_mr0())
    assert back.event_count == repetitions.event_count
    assert back.pulse_use == repetitions.pulse_use
    for name in ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase"):
        torch.testing.assert_close(getattr(back, name), getattr(repetitions, name))
    assert torch.equal(back.adc_usage, repetitions.adc_usage)


def test_mrzerocore_gets_what_has_the_conjugate_signal():
    """It turns right-handed as well: -i exp(iφ) is conjugated by the phase π - φ."""
    repetitions = dataclasses.replace(
        three_pulses(), shim=torch.tensor([[1.0, 0.5j], [2.0, 1.0], [1j, 1.0]])
    )
    sequence = repetitions.to_mr0()
    excited = [-1j * torch.exp(1j * phase) for phase in repetitions.pulse_phase]
    for repetition, expected in zip(sequence, excited, strict=True):
        found = -1j * torch.exp(1j * repetition.pulse.phase)
        torch.testing.assert_close(found, expected.conj().resolve_conj())
    torch.testing.assert_close(torch.cat([r.adc_phase for r in sequence]), -repetitions.adc_phase)
    # MRzeroCore turns channels by minus the phase of their shim
    for repetition, weights in zip(sequence, repetitions.shim, strict=True):
        size, phase = repetition.pulse.shim_array.T
        torch.testing.assert_close(torch.polar(size, -phase), weights.conj().resolve_conj())


def test_weights_of_channels_come_back_from_mrzerocore():
    shim = torch.tensor([[1.0, 0.5j], [2.0, 1.0], [1j, 1.0]])
    repetitions = dataclasses.replace(three_pulses(), shim=shim)
    back = repetitions_from_mr0(repetitions.to_mr0())
    torch.testing.assert_close(back.shim, shim)
    assert repetitions_from_mr0(three_pulses().to_mr0()).shim is None


def test_pulses_of_other_channels_than_others_are_refused():
    sequence = three_pulses().to_mr0()
    sequence[1].pulse.shim_array = torch.ones(2, 2)
    with pytest.raises(SequenceError, match="weights of 1 and of 2 transmit channels"):
        repetitions_from_mr0(sequence)


def test_round_trip_through_tensors():
    repetitions = three_pulses()
    back = Repetitions.from_tensors(*repetitions.to_tensors())
    assert torch.equal(back.kspace(), repetitions.kspace())


def test_stored_sequence_that_lacks_something_is_refused():
    tensors, metadata = three_pulses().to_tensors()
    del tensors["adc_phase"]
    with pytest.raises(SequenceError, match="lacks 'adc_phase'"):
        Repetitions.from_tensors(tensors, metadata)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pulse_angle", torch.zeros(2), "pulse_angle has shape"),
        ("gradient_moment", torch.zeros(9, 2), "gradient_moment has shape"),
        ("event_count", (2, 4, 0), "event_time has shape"),
        ("pulse_use", ("excitation", "refocusing", "wrong"), "unknown pulse use"),
    ],
)
def test_wrong_shapes_are_refused(field, value, message):
    fields = {name: getattr(three_pulses(), name) for name in Repetitions.__dataclass_fields__}
    with pytest.raises(SequenceError, match=message):
        Repetitions(**{**fields, field: value})

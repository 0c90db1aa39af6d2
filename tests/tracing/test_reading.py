"""What a script reads back from a sequence keeps its gradients, or says that it does not."""

import copy
import pickle

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.tracing import GradientLossWarning, check_gradients, trace

SYSTEM = pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s", rf_dead_time=1e-4)


def tensor(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def gradient_echo(TE=1e-2, flip=1.0, area=100.0):
    seq = pp.Sequence(SYSTEM)
    rf, gz, gzr = pp.make_sinc_pulse(
        flip,
        duration=2e-3,
        slice_thickness=5e-3,
        phase_offset=0.3 * flip,
        delay=SYSTEM.rf_dead_time,
        system=SYSTEM,
        return_gz=True,
        use="excitation",
    )
    seq.add_block(rf, gz)
    seq.add_block(gzr, pp.make_trapezoid("x", area=area, duration=2e-3, system=SYSTEM))
    seq.add_block(pp.make_delay(TE))
    seq.add_block(pp.make_adc(8, dwell=1e-5 * area / 100, delay=1e-4, phase_offset=flip))
    return seq


def to_fill_the_repetition(TE):
    seq = gradient_echo(TE)
    seq.add_block(pp.make_delay(0.1 - sum(seq.block_durations.values())))
    seq.add_block(pp.make_delay(0.2 - seq.duration()[0]))
    seq.add_block(pp.make_delay(sum(t for _, t in seq.block_durations.items()) - 0.15))
    return seq


def events_of_blocks(flip, area):
    seq, again = gradient_echo(1e-2, flip, area), pp.Sequence(SYSTEM)
    first, second = seq.get_block(1), seq.get_block(2)
    again.add_block(first.rf, first.gz)
    again.add_block(second.gx, second.gz)
    again.add_block(seq.get_block(4).adc)
    again.add_block(pp.make_delay(2 * seq.get_block(4).block_duration))
    return again


def a_block_that_is_changed(flip, area, TE):
    seq = gradient_echo(TE, flip, area)
    block = seq.get_block(1)
    block.rf.signal = 0.5 * block.rf.signal
    seq.set_block(1, block)
    return seq


def times_of_pulses_and_samples(TE, area):
    seq = gradient_echo(TE, 1.0, area)
    samples, offsets = seq.adc_times()
    pulses = seq.rf_times()[0]
    return samples, offsets, pulses[0], samples[4] - pulses[0]


def copies(TE):
    seq = copy.copy(copy.deepcopy(gradient_echo(TE)))
    seq.add_block(pp.make_delay(2 * TE))
    return seq


def soft_delays(offset, factor):
    seq = gradient_echo()
    seq.add_block(pp.make_soft_delay("TR", offset=offset, factor=factor, default_duration=1e-3))
    delay = seq.get_block(5).soft_delay
    return delay.offset, delay.factor


CASES = {
    to_fill_the_repetition: {"TE": 1.01e-2},
    events_of_blocks: {"flip": 1.1, "area": 100.0},
    a_block_that_is_changed: {"flip": 1.1, "area": 100.0, "TE": 1e-2},
    times_of_pulses_and_samples: {"TE": 1.01e-2, "area": 100.0},
    copies: {"TE": 1.01e-2},
    soft_delays: {"offset": 1e-3, "factor": 2.0},
}


@pytest.mark.parametrize("function", CASES)
def test_what_is_read_from_a_sequence_keeps_its_gradients(function):
    values = {name: tensor(value) for name, value in CASES[function].items()}
    report = check_gradients(function, values)
    assert {check.parameter for check in report.checks if check.difference} == set(values)
    assert report.worst < 1e-7, str(report)
    trace(function, values, on_loss="raise")


@pytest.mark.parametrize("function", [to_fill_the_repetition, events_of_blocks, copies])
def test_what_is_read_has_the_values_of_plain_pypulseq(function, tmp_path):
    values = CASES[function]
    function(**values).write(str(tmp_path / "plain.seq"))
    traced = trace(function, {name: tensor(value) for name, value in values.items()})
    traced.sequence.write(str(tmp_path / "traced.seq"))
    assert (tmp_path / "plain.seq").read_bytes() == (tmp_path / "traced.seq").read_bytes()
    assert dict(traced.sequence.block_durations) == dict(function(**values).block_durations)


def test_the_duration_of_a_repetition_is_kept_whatever_the_echo_time():
    model = SequenceModel(lambda TE: with_second_pulse(to_fill_the_repetition(TE)))
    TE = tensor(1.01e-2)
    (slope,) = torch.autograd.grad(model({"TE": TE}).event_time.sum(), TE)
    assert abs(slope) < 1e-12


def with_second_pulse(seq):
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, system=SYSTEM, use="excitation"))
    seq.add_block(pp.make_adc(1, dwell=1e-5))
    return seq


@pytest.mark.parametrize(
    "read",
    [
        lambda seq: seq.calculate_kspace()[0],
        lambda seq: seq.waveforms_and_times()[0],
        lambda seq: seq.get_gradients(),
        pickle.dumps,
    ],
)
def test_what_loses_gradients_says_so_where_the_script_reads(read):
    with pytest.warns(GradientLossWarning, match=r"test_reading\.py:\d+ .*in <lambda>") as caught:
        trace(lambda TE: (read(gradient_echo(TE)), None)[1], {"TE": tensor(1e-2)})
    assert len(caught) == 1


def test_nothing_is_lost_where_nothing_depends_on_a_parameter():
    seq = trace(lambda: gradient_echo(), {}, on_loss="raise").sequence
    trace(lambda: gradient_echo().calculate_kspace(), {}, on_loss="raise")
    again = pickle.loads(pickle.dumps(seq))
    assert type(again) is pp.Sequence
    np.testing.assert_allclose(again.calculate_kspace()[0], seq.calculate_kspace()[0])

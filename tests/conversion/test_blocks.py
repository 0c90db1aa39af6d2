"""Events of every kind: played, without action, or refused."""

from types import SimpleNamespace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.blocks import timeline
from pulseq_zero.conversion.once import Once
from pulseq_zero.errors import SequenceError
from pulseq_zero.tracing import TracedBlock


def sequence(*events):
    """Excite, play one more block, and sample."""
    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, use="excitation"))
    if events:
        seq.add_block(*events)
    seq.add_block(pp.make_adc(2, dwell=1e-5))
    return seq


def time_until_sample(*events):
    repetitions = convert(sequence(*events))
    first = int(torch.nonzero(repetitions.is_sample)[0])
    return float(repetitions.event_time[: first + 1].sum())


@pytest.mark.parametrize(
    ("event", "duration"),
    [
        (pp.make_delay(2e-3), 2e-3),
        (pp.make_soft_delay("TE", default_duration=3e-3), 3e-3),
        (pp.make_trigger("physio1", duration=4e-3), 4e-3),
        (pp.make_digital_output_pulse("osc0", duration=5e-3), 5e-3),
    ],
)
def test_events_without_action_take_their_time(event, duration):
    assert time_until_sample(event) - time_until_sample() == pytest.approx(duration)


@pytest.mark.parametrize("kind", ["SET", "INC"])
def test_labels_take_no_time(kind):
    labelled = pp.make_label("LIN", kind, 1), pp.make_delay(1e-3)
    assert time_until_sample(*labelled) == time_until_sample(pp.make_delay(1e-3))
    assert convert(sequence(*labelled)).labels["LIN"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "gradient",
    [
        pp.make_trapezoid("x", area=50.0, duration=1e-3),
        pp.make_extended_trapezoid(
            "x", times=np.array([0, 2e-4, 1e-3]), amplitudes=np.array([0, 1e5, 0])
        ),
    ],
)
def test_gradients_move_in_k_space(gradient):
    assert float(convert(sequence(gradient)).kspace()[0, 0]) == pytest.approx(50.0)


@pytest.mark.parametrize("kind", ["rot3D", "rf_shim", "rotation"])
def test_kinds_that_are_not_known_are_refused(kind):
    """As later versions of PyPulseq have them; this one does not let them into a sequence."""
    block = TracedBlock((SimpleNamespace(type=kind),), 1e-3)
    with pytest.raises(SequenceError, match=f"an event of the kind '{kind}'"):
        timeline(block, pp.Opts(), Once(), sub_pulses=1, played=True)
    with pytest.raises(ValueError, match="Unknown event type"):
        sequence(SimpleNamespace(type=kind))

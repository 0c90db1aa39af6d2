"""Sequences that are written otherwise, or played in another frame, have the same signal."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pulseq_zero.conversion.repetitions import Repetitions
from support.cases import cases
from support.engines import (
    ENGINES,
    EXAMPLES,
    FEW,
    FEW_VOXELS,
    assert_same,
    same_as,
)
from support.random_phantoms import changed

PER_EVENT = ("event_time", "gradient_moment", "adc_phase", "adc_usage")


def halved(sequence: Repetitions) -> Repetitions:
    """Cut every event into two halves; samples stay at the end."""
    half = {
        name: getattr(sequence, name).repeat_interleave(2, 0) / 2
        for name in ("event_time", "gradient_moment")
    }
    usage = sequence.adc_usage.repeat_interleave(2)
    usage[::2] = 0
    return replace(
        sequence,
        **half,
        adc_phase=sequence.adc_phase.repeat_interleave(2),
        adc_usage=usage,
        event_count=tuple(2 * count for count in sequence.event_count),
    )


def with_pulses_of_no_angle(sequence: Repetitions, rng, count: int = 3) -> Repetitions:
    """Insert pulses of angle zero and any phase between events."""
    angle, phase = sequence.pulse_angle.tolist(), sequence.pulse_phase.tolist()
    use, events = list(sequence.pulse_use), list(sequence.event_count)
    for _ in range(count):
        long = [n for n, events_here in enumerate(events) if events_here > 1]
        number = int(rng.choice(long))
        before = int(rng.integers(1, events[number]))
        events[number : number + 1] = [before, events[number] - before]
        angle.insert(number + 1, 0.0)
        phase.insert(number + 1, float(rng.uniform(0, 6)))
        use.insert(number + 1, "other")
    return replace(
        sequence,
        pulse_angle=torch.tensor(angle, dtype=torch.float64),
        pulse_phase=torch.tensor(phase, dtype=torch.float64),
        pulse_use=tuple(use),
        event_count=tuple(events),
    )


def joined(first: Repetitions, second: Repetitions, waiting: float) -> Repetitions:
    """Play one sequence after another; the last event of the first takes longer."""
    time = first.event_time.clone()
    time[-1] += waiting
    first = replace(first, event_time=time)
    per_pulse = ("pulse_angle", "pulse_phase")
    return Repetitions(
        pulse_use=first.pulse_use + second.pulse_use,
        event_count=first.event_count + second.event_count,
        **{
            name: torch.cat([getattr(first, name), getattr(second, name)])
            for name in (*per_pulse, *PER_EVENT)
        },
    )


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases())
def test_events_halved(engine, case):
    sequence, data, _ = case.draw()
    signal = ENGINES[engine]
    assert_same(signal(halved(sequence), data), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases())
def test_pulses_of_no_angle_inserted(engine, case):
    sequence, data, rng = case.draw()
    signal = ENGINES[engine]
    more = with_pulses_of_no_angle(sequence, rng)
    same_as(engine)(signal(more, data), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases(), by=st.floats(-10, 10))
def test_all_phases_shifted(engine, case, by):
    """The signal turns with the pulses, unless the receiver turns back."""
    sequence, data, _ = case.draw()
    signal = ENGINES[engine]
    turned = replace(sequence, pulse_phase=sequence.pulse_phase + by)
    expected = signal(sequence, data)
    assert_same(signal(turned, data), expected * np.exp(1j * by), data)
    back = replace(turned, adc_phase=sequence.adc_phase - by)
    assert_same(signal(back, data), expected, data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases())
def test_a_pulse_backwards_is_one_of_the_opposite_phase(engine, case):
    sequence, data, rng = case.draw()
    backwards = torch.from_numpy(rng.random(len(sequence.pulse_angle)) < 0.5)
    other = replace(
        sequence,
        pulse_angle=torch.where(backwards, -sequence.pulse_angle, sequence.pulse_angle),
        pulse_phase=sequence.pulse_phase + torch.pi * backwards,
    )
    signal = ENGINES[engine]
    assert_same(signal(other, data), signal(sequence, data), data)


@pytest.mark.parametrize("engine", ENGINES)
@EXAMPLES
@given(case=cases())
def test_everything_conjugated(engine, case):
    """Frequencies, places and phases change their signs; the signal is the conjugate."""
    sequence, data, _ = case.draw(voxels=FEW_VOXELS)
    other = replace(
        sequence,
        pulse_angle=-sequence.pulse_angle,
        pulse_phase=-sequence.pulse_phase,
        gradient_moment=-sequence.gradient_moment,
        adc_phase=-sequence.adc_phase,
    )
    B1, coil_sens = data.B1.conj().resolve_conj(), data.coil_sens.conj().resolve_conj()
    mirror = changed(data, B0=-data.B0, B1=B1, coil_sens=coil_sens)
    signal = ENGINES[engine]
    same_as(engine)(signal(other, mirror), signal(sequence, data).conj(), data)


@pytest.mark.parametrize("engine", ENGINES)
@FEW
@given(case=cases(), other=cases())
def test_sequences_joined_across_full_relaxation(engine, case, other):
    first, data, _ = case.draw()
    second, *_ = other.draw()
    signal = ENGINES[engine]
    together = signal(joined(first, second, 20 * float(data.T1.max())), data)
    samples = int(first.is_sample.sum())
    same_as(engine)(together[:samples], signal(first, data), data)
    same_as(engine)(together[samples:], signal(second, data), data)

"""Long sequences: what is done once, and what needs no place in a program."""

import numpy as np
import pypulseq as pp
import pytest

from pulseq_zero.conversion import pulses
from pulseq_zero.conversion.assembly import _event_ends
from pulseq_zero.conversion.blocks import Mark
from pulseq_zero.conversion.model import Conversion


def train(count=6, samples=400):
    """Play one off-resonant shape with other phases, and many samples."""
    seq = pp.Sequence()
    for number in range(count):
        rf = pp.make_arbitrary_rf(
            np.hanning(100), 1.0, dwell=1e-5, freq_offset=300.0, phase_offset=0.2 * number,
            use="excitation",
        )  # fmt: skip
        seq.add_block(rf)
        seq.add_block(pp.make_adc(samples, dwell=1e-5))
    return seq


@pytest.mark.parametrize("how", ["played", "instantaneous"])
def test_pulses_that_differ_in_phase_are_composed_once(how, monkeypatch):
    composed, original = [], pulses._composed
    monkeypatch.setattr(pulses, "_composed", lambda *args: composed.append(1) or original(*args))
    conversion = Conversion(train(), pulses=how)
    assert len(composed) == 1
    repetitions = conversion({})
    phase = repetitions.pulse_phase if how == "instantaneous" else repetitions.played.phase
    # Turns about z of earlier pulses are in the phases of instantaneous ones, the same for each
    np.testing.assert_allclose(np.diff(phase.numpy(), 2), 0, atol=1e-9)
    if how == "played":
        np.testing.assert_allclose(np.diff(phase.numpy()), 0.2, atol=1e-9)
        assert len(repetitions.played.step_count) == 1


def test_constants_take_no_place_in_a_program():
    conversion = Conversion(train(1))
    assert conversion.program.operations() == 0
    assert len(conversion.program._template) == 0
    first, second = conversion({}), conversion({})
    assert first.event_time.sum() > 0
    # Each has numbers of its own
    first.event_time.zero_()
    assert second.event_time.sum() > 0


def test_corners_count_if_nothing_is_near_that_counts():
    """By the rule, one after the other, on random marks."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        marks = generator.choice([0, 1, 2, 3, 3, 3], 60)
        marks[[0, -1]] = Mark.PULSE, Mark.NOTHING
        durations = generator.choice([0.0, 4e-7, 7e-7, 3e-6], 60)
        ends = _event_ends(marks, durations, np.flatnonzero(marks == Mark.PULSE))
        time = np.cumsum(durations)
        fixed = np.flatnonzero((marks == Mark.PULSE) | (marks == Mark.SAMPLE))
        counted = set(fixed.tolist())
        for index in np.flatnonzero(marks == Mark.CORNER):
            before = [each for each in counted if each < index]
            after = fixed[fixed > index]
            pulse = np.cumsum(marks == Mark.PULSE)
            same = (marks == Mark.SAMPLE) & (pulse == pulse[index])
            within = same[:index].any() and same[index:].any()
            near = [time[index] - time[max(before)] <= 1e-6] if before else []
            near += [time[after[0]] - time[index] <= 1e-6] if len(after) else []
            if not within and not any(near):
                counted.add(int(index))
        inner = [end for end in ends.tolist() if marks[end] != Mark.NOTHING]
        last = inner[-1]
        assert inner == [index for index in sorted(counted) if 0 < index <= last]

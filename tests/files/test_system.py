"""Offsets in parts per million: of which field."""

import math
import warnings

import numpy as np
import pypulseq as pp
import pytest

from pulseq_zero.conversion import convert
from pulseq_zero.errors import SequenceError
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.system import system_of
from pulseq_zero.judge.seq import read_course

GAMMA = 42.576e6


def sequence(freq_ppm=0.0, phase_ppm=0.0, adc_ppm=0.0, **system):
    seq = pp.Sequence(pp.Opts(**system))
    rf, gz, _ = pp.make_sinc_pulse(
        1.0,
        duration=2e-3,
        slice_thickness=5e-3,
        freq_ppm=freq_ppm,
        phase_ppm=phase_ppm,
        return_gz=True,
        use="excitation",
    )
    seq.add_block(rf, gz)
    seq.add_block(pp.make_adc(2, dwell=1e-4, freq_ppm=adc_ppm))
    return seq


def turns_of_receiver(repetitions):
    """Frequency of the receiver [Hz]."""
    first, second = repetitions.adc_phase[repetitions.is_sample].tolist()
    return abs(second - first) / (2 * math.pi * 1e-4)


def written(seq, tmp_path):
    seq.write(str(tmp_path / "ppm.seq"))
    return read_seq(tmp_path / "ppm.seq")


@pytest.mark.parametrize("field", [0.55, 3.0, 7.0])
def test_a_script_has_the_field_of_its_system(field):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repetitions = convert(sequence(adc_ppm=3.0, B0=field))
    assert turns_of_receiver(repetitions) == pytest.approx(3e-6 * GAMMA * field, rel=1e-6)


def test_a_file_has_the_field_of_its_definitions(tmp_path):
    seq = sequence(adc_ppm=3.0, B0=3.0)
    seq.set_definition("B0", 3.0)
    read = written(seq, tmp_path)
    assert read.system.B0 == 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repetitions = convert(read)
        course = read_course(tmp_path / "ppm.seq", "instantaneous")
    assert turns_of_receiver(repetitions) == pytest.approx(3e-6 * GAMMA * 3.0, rel=1e-6)
    assert system_of(read).B0 == 3.0
    assert course


@pytest.mark.parametrize("offset", ["freq_ppm", "phase_ppm", "adc_ppm"])
def test_a_field_that_nobody_states_is_told(offset, tmp_path):
    read = written(sequence(**{offset: 3.0}, B0=3.0), tmp_path)
    with pytest.warns(UserWarning, match=r"states no field strength.*set_definition\('B0'"):
        convert(read)
    with pytest.warns(UserWarning, match="states no field strength"):
        read_course(tmp_path / "ppm.seq", "instantaneous")
    with pytest.warns(UserWarning, match=r"counts as 1.5 T.*Opts\(B0"):
        convert(sequence(**{offset: 3.0}))


def test_without_offsets_the_field_does_not_matter(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(written(sequence(), tmp_path))


@pytest.mark.parametrize("stated", ["three", -3.0, np.zeros(0)])
def test_a_definition_that_is_no_field_is_refused(stated):
    seq = sequence(adc_ppm=3.0)
    seq.definitions["B0"] = stated
    with pytest.raises(SequenceError, match="must be its field strength in T"):
        convert(seq)

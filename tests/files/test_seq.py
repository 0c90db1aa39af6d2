"""Files of any version and origin are read, and doubts are told."""

import cmath
import gc
import re
import warnings
from typing import get_args

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import convert, imported_repetitions
from pulseq_zero.errors import SequenceError, UnsupportedFileError
from pulseq_zero.files import seq as seq_files
from pulseq_zero.files.seq import read_definitions, read_seq
from pulseq_zero.judge.seq import Physics, read_course
from support.seq_text import DWELL, FIRST_SAMPLE, KX, signed, text_of

VERSIONS = ["1.2.0", "1.2.1", "1.3.0", "1.3.1", "1.4.0", "1.4.1", "1.5.0", "1.5.1"]
_HALF = 0.5**0.5
# Of 8 samples, as differences
TIMES = "\nshape_id 3\nnum_samples 8\n{first}\n{dwell}\n{dwell}\n5\n"
QUARTER_ABOUT_Z = f"""
[EXTENSIONS]
1 1 1 0

extension ROTATIONS 1
1 {_HALF} 0 0 {_HALF}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="echo.seq"):
        (tmp_path / name).write_bytes(text.encode())
        return tmp_path / name

    return write


def silently(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return function(*args, **kwargs)


def check(repetitions, axis=0):
    """Compare with what the file says."""
    assert repetitions.pulse_angle.tolist() == pytest.approx([np.pi / 2], rel=1e-6)
    assert repetitions.known_uses() == ("excitation",)
    kspace = repetitions.kspace().numpy()
    expected = np.zeros((8, 4))
    expected[:, axis], expected[:, 3] = KX, FIRST_SAMPLE + DWELL * np.arange(8)
    np.testing.assert_allclose(kspace, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read(version, write):
    file = write(text_of(version))
    with pytest.warns(UserWarning, match="has no signature, so that it may be cut") as caught:
        sequence = read_seq(file)
    assert len(caught) == 1
    said = str(caught[0].message)
    assert ("10 us for gradients and 1 us for pulses" in said) == (version < "1.4")
    assert sequence.duration()[0] == pytest.approx(0.5031)
    check(convert(sequence))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(imported_repetitions(file, "played"))
        check(imported_repetitions(file, "instantaneous"))
    with pytest.raises(SequenceError, match=r"has no signature.*; write it again"):
        read_seq(file, check_signature=True)


def test_signatures_of_other_programs_are_right(write):
    text = text_of("1.5.0")
    for content in (
        signed(text),
        # JEMRIS hashes the newline before the section, too
        signed(text, of=f"{text}\n"),
        signed(text).replace("\n", "\r\n"),
        signed(text, of=text.replace("\n", "\r\n")).replace("\n", "\r\n"),
        f"\ufeff{signed(text)}",
    ):
        check(convert(silently(read_seq, write(content), check_signature=True)))


def test_an_altered_file_is_read_with_a_warning(write):
    file = write(signed(text_of("1.4.0")).replace("1 1250 1 2", "1 1250.0 1 2"))
    with pytest.warns(UserWarning, match="was altered after it was written"):
        check(convert(read_seq(file)))
    with pytest.raises(SequenceError, match="was altered after it was written"):
        read_seq(file, check_signature=True)


def test_comments_blanks_and_a_last_line_without_an_end_are_no_matter(write):
    """PyPulseq takes a comment for data, and waits forever for a line after the last."""
    text = text_of("1.4.0").rstrip()
    text = text.replace("[TRAP]\n", "[TRAP]\n# id amplitude\n\n").replace(
        "\n2 ", "\n# second\n2   "
    )
    text = text.replace("FOV 0.1 0.1", "FOV 0.1   0.1 ").replace("Name echo", "Name echo #2")
    text = text.replace("1 1250 1 2 0 100 0.0 0", "1 1250 1 2 0 100 0.0 0 # a block # pulse")
    with pytest.warns(UserWarning, match="no signature"):
        sequence = read_seq(write(text))
    check(convert(sequence))
    assert sequence.definitions["FOV"].tolist() == [0.1, 0.1, 0.005]
    assert sequence.definitions["Name"] == "echo #2"


def test_a_cut_file_says_what_it_lacks(write):
    text = text_of("1.4.0")
    for cut, message in (
        (text[: text.index("[RF]")], r"refers to an event or a shape 1 that it lacks"),
        (text[: text.index("shape_id 2")], r"refers to an event or a shape 2(\.0)? that it lacks"),
        (text[: text.index("1 30 1")], "holds no blocks"),
        (text[: text.index("[BLOCKS]")], r"has no section \[BLOCKS\]"),
        (text[text.index("[DEFINITIONS]") :], r"cut, or older than Pulseq 1\.2: it has no section"),
        ("a recipe", r"no \.seq file, or is cut: it has no section \[VERSION\]"),
    ):
        with pytest.raises(SequenceError, match=message):
            read_seq(write(cut))


def test_rotations_are_read_by_the_importer(write):
    """A quarter of a turn about z leads x to y, right-handed: Hamilton's quaternions."""
    file = write(text_of("1.5.1", QUARTER_ABOUT_Z, 1))
    with pytest.raises(UnsupportedFileError, match="Unknown section code: extension ROTATIONS"):
        read_seq(file)
    for pulses in ("played", "instantaneous"):
        with pytest.warns(UserWarning, match="MRzeroCore's importer does, which makes one"):
            repetitions = imported_repetitions(file, pulses)
        check(repetitions, axis=1)
    assert read_definitions(file)["FOV"] == ["0.1", "0.1", "0.005"]


@pytest.mark.parametrize("wrong", ["0 0 0 0", "1 1 0 0", "nan 0 0 1"])
def test_a_rotation_that_is_none_is_refused(wrong, write):
    text = text_of("1.5.1", QUARTER_ABOUT_Z, 1).replace(f"1 {_HALF} 0 0 {_HALF}", f"1 {wrong}")
    with pytest.raises(SequenceError, match=rf"a rotation 1 by {wrong}, which is no quaternion"):
        imported_repetitions(write(text))


def test_a_readout_of_too_many_samples_is_refused(write):
    file = write(re.sub(r"(\[ADC\]\n1) 8 ", r"\1 375763573 ", text_of("1.5.0")))
    with pytest.raises(SequenceError, match=r"has a readout of 3\.75764e\+08 samples, which is no"):
        read_seq(file)


def test_a_use_that_nobody_knows_is_told(write):
    file = write(re.sub(r"(\[RF\]\n.*) e\n", r"\1 q\n", text_of("1.5.0")))
    with pytest.warns(UserWarning, match="pulses whose use is not known and taken for none: q$"):
        check(convert(read_seq(file)))


@pytest.mark.parametrize("version", ["1.2.0", "1.3.1", "1.4.0"])
def test_short_shapes_of_any_version_are_read(version, write):
    """As many numbers as samples: differences before 1.4, and the samples themselves from then."""
    text = text_of(version).replace("[TRAP]", "[GRADIENTS]\n9 -100 9 0\n\n[TRAP]")
    if version >= "1.4":
        text = text.replace("9 -100 9 0", "9 -100 9 0 0")
    text = text.replace("0 0 1 0 0 0", "0 0 1 9 0 0").replace("100 0 1 0 0", "100 0 1 9 0")
    sequence = read_seq(write(text + "\nshape_id 9\nnum_samples 3\n0.25\n0.5\n0.25\n"))
    expected = [-25, -75, -100] if version < "1.4" else [-25, -50, -25]
    assert sequence.get_block(2).gy.waveform.tolist() == pytest.approx(expected)


def with_unknown(required=""):
    """Put an unknown extension before, between and behind labels."""
    extensions = (
        "\n[EXTENSIONS]\n1 1 1 2\n2 2 1 3\n3 1 1 4\n4 3 1 5\n5 1 1 0\n6 1 1 0\n"
        "\nextension VENDOR 1\n1 7 whatever 0.5 this is\n"
        "\nextension LABELSET 2\n1 3 ECO\n\nextension LABELINC 3\n1 2 SLC\n"
    )
    text = text_of("1.5.1", extensions, 1).replace("50000 0 0 0 0 0 0", "50000 0 0 0 0 0 6")
    return text.replace("Name echo\n", f"Name echo\n{required}")


def test_extensions_that_nobody_knows_are_passed_over(write):
    file = write(with_unknown())
    with pytest.warns(UserWarning, match="not known and passed over: VENDOR$"):
        sequence = read_seq(file)
    # Both blocks with a gradient set and count
    assert sequence.evaluate_labels(evolution="adc")["ECO"].tolist() == [3]
    assert sequence.evaluate_labels(evolution="adc")["SLC"].tolist() == [4]
    check(convert(sequence))
    with pytest.warns(UserWarning, match="not known and passed over: VENDOR$"):
        assert imported_repetitions(file).labels["ECO"].tolist() == [3] * 8


def test_extensions_that_the_file_requires_are_not_passed_over(write):
    file = write(with_unknown("RequiredExtensions LABELSET VENDOR\n"))
    with pytest.raises(UnsupportedFileError, match="Unknown section code: extension VENDOR"):
        read_seq(file)


def test_a_field_of_view_in_mm_is_one_in_m(write):
    file = write(text_of("1.5.0").replace("FOV 0.1 0.1 0.005", "FOV 100 100 5"))
    with pytest.warns(UserWarning, match="a field of view that is taken for mm"):
        assert read_seq(file).definitions["FOV"] == pytest.approx([0.1, 0.1, 5e-3])


@pytest.mark.parametrize("wrong", ["extension ROTATIONS 1", "1 30 1 0 0 0 0 x"])
def test_a_file_that_cannot_be_read_is_closed(wrong, write):
    text = text_of("1.5.1", QUARTER_ABOUT_Z, 1).replace("1 30 1 0 0 0 0 0", wrong)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SequenceError):
            read_seq(write(text))
        gc.collect()
    assert not [each for each in caught if each.category is ResourceWarning]


def test_labels_of_the_importer_are_kept(write):
    labels = "\n[EXTENSIONS]\n1 1 1 2\n2 2 1 0\n\nextension LABELSET 1\n1 3 ECO\n"
    file = write(text_of("1.5.1", labels + "\nextension RF_SHIMS 2\n1 1 1 0\n", 1))
    with pytest.warns(UserWarning, match="MRzeroCore's importer"):
        repetitions = imported_repetitions(file)
    assert {name: values.tolist() for name, values in repetitions.labels.items()} == {
        "ECO": [3] * 8
    }


def test_weights_of_transmit_channels_are_those_of_the_file(write):
    """Magnitude and phase in radians of each channel, in the one sense of phase."""
    extension = "\n[EXTENSIONS]\n1 1 1 0\n\nextension RF_SHIMS 1\n1 2 0.5 1.2 0.8 -0.3\n"
    text = text_of("1.5.1", extension).replace("1 30 1 0 0 0 0 0", "1 30 1 0 0 0 0 1")
    with pytest.warns(UserWarning, match="MRzeroCore's importer"):
        repetitions = imported_repetitions(write(text))
    expected = [[0.5 * cmath.exp(1.2j), 0.8 * cmath.exp(-0.3j)]]
    torch.testing.assert_close(repetitions.shim, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_what_nobody_reads_is_refused(write):
    file = write(text_of("1.5.0").replace("[TRAP]", "[TRIPS]"))
    with pytest.raises(UnsupportedFileError, match=r"Unknown section code: \[TRIPS\]"):
        imported_repetitions(file)


def test_what_the_importer_finds_no_pulse_in_has_none(write):
    text = text_of("1.5.1", QUARTER_ABOUT_Z, 1).replace("1 30 1 0 0 0 0", "1 30 0 0 0 0 0")
    with pytest.raises(SequenceError, match=r"\.seq holds no RF pulse, so there is nothing"):
        imported_repetitions(write(text))


def test_a_shape_of_many_pulses_is_unpacked_once(tmp_path, monkeypatch):
    """And the blocks, and the file that is written of them, are those of PyPulseq."""
    seq = pp.Sequence()
    shape = np.hanning(2000)
    rf = pp.make_arbitrary_rf(shape, flip_angle=1.0, use="saturation", freq_offset=100.0)
    gradient = pp.make_arbitrary_grad("x", 1e3 * np.hanning(50), first=0.0, last=0.0)
    for phase in (0.0, 0.5, 1.0):
        rf.phase_offset = phase
        seq.add_block(rf)
        seq.add_block(gradient)
    seq.write(str(tmp_path / "plain.seq"))
    plain = pp.Sequence()
    plain.read(str(tmp_path / "plain.seq"))

    unpacked = []
    unpack = seq_files.decompress_shape
    monkeypatch.setattr(
        seq_files, "decompress_shape", lambda shape: unpacked.append(shape) or unpack(shape)
    )
    read = read_seq(tmp_path / "plain.seq")
    assert len(unpacked) == len(read.shape_library.data)
    for block in plain.block_events:
        found, expected = read.get_block(block), plain.get_block(block)
        if expected.rf is not None:
            assert np.array_equal(found.rf.signal, expected.rf.signal)
            assert np.array_equal(found.rf.t, expected.rf.t)
        else:
            assert np.array_equal(found.gx.waveform, expected.gx.waveform)
            assert np.array_equal(found.gx.tt, expected.gx.tt)
    for each, name in ((plain, "a.seq"), (read, "b.seq")):
        each.write(str(tmp_path / name))
    assert (tmp_path / "a.seq").read_bytes() == (tmp_path / "b.seq").read_bytes()


@pytest.mark.parametrize(
    ("dwell", "first"), [(10, 5), (3, 1.5), (10, 0)], ids=["centres", "off the raster", "edges"]
)
def test_a_pulse_of_steps_longer_than_the_raster_ends_with_its_last_step(dwell, first, write):
    """8 samples of 1250 Hz: at the centres of 8 steps, or at the edges of 7."""
    text = text_of("1.4.0").replace("1 1250 1 2 0 100", "1 1250 1 2 3 100")
    text = text.replace("num_samples 200", "num_samples 8").replace("\n197\n", "\n5\n")
    text = text.replace("\n198\n", "\n6\n").replace("[SHAPES]\n", f"[SHAPES]\n{TIMES}\n")
    file = write(text.format(first=first, dwell=dwell))
    duration = 1e-6 * dwell * (8 if first else 7)
    angle = 2 * np.pi * 1250 * duration
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = convert(read_seq(file), pulses="played")
        imported = imported_repetitions(file, "instantaneous")
        at_once, full = (read_course(file, physics).pulse for physics in get_args(Physics))
    assert converted.pulse_angle.item() == pytest.approx(angle, rel=1e-6)
    assert imported.pulse_angle.item() == pytest.approx(angle, rel=1e-6)
    assert at_once[1].angle == pytest.approx(angle, rel=1e-6)
    assert full[1].duration == pytest.approx(duration, rel=1e-6)

"""Images of sequences whose samples are not all for the image, or not of one."""

import math

import pypulseq as pp
import pytest
import torch
from nibabel.affines import apply_affine

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.files.exports import image_affine
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.samples import imaged, samples_of_image
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

N, FOV = 8, 0.2
SYSTEM = pp.Opts(max_grad=200, grad_unit="mT/m", max_slew=10000, slew_unit="T/m/s")


def label(name, value):
    return pp.make_label(name, "SET", value)


def excite(seq, flip=math.pi / 2, phase=0.0):
    """Wait until nothing is left, and turn."""
    seq.add_block(pp.make_delay(200.0))
    seq.add_block(
        pp.make_block_pulse(
            flip, duration=1e-4, phase_offset=phase, system=SYSTEM, use="excitation"
        )
    )


def read(seq, line, *labels, kz=0.0, echoes=((),), prephase=1.0):
    """Read a line, as often as there are echoes, each with its labels."""
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=8e-4, system=SYSTEM)
    adc = pp.make_adc(N, duration=8e-4, delay=gx.rise_time, system=SYSTEM)
    back = pp.make_trapezoid("x", area=-gx.area, duration=1e-3, system=SYSTEM)
    # sample N // 2 is at the centre
    area = -gx.area / 2 - 0.5 / FOV
    seq.add_block(
        pp.make_trapezoid("x", area=area, duration=1e-3, system=SYSTEM),
        pp.make_trapezoid("y", area=line / FOV, duration=1e-3, system=SYSTEM),
        pp.make_trapezoid("z", area=kz, duration=1e-3, system=SYSTEM),
        *labels,
    )
    for number, of_echo in enumerate(echoes):
        if number:
            seq.add_block(back)
        seq.add_block(gx, adc, *of_echo)


def gradient_echo(extra=lambda seq: None, *, kz=0.0, echoes=((),), lines=range(-N // 2, N // 2)):
    seq = pp.Sequence(SYSTEM)
    extra(seq)
    for line in lines:
        excite(seq)
        read(seq, line, kz=kz, echoes=echoes)
    seq.set_definition("FOV", [FOV, FOV, 5e-3])
    return seq


def uniform():
    return Phantom(
        {"tissue": TissuePool.of(torch.ones(N, N), T1=10.0, T2=10.0, T2dash=1e6, D=0.0)},
        {},
        (FOV, FOV),
        5e-3,
    )


def image_of(function, **arguments):
    return ImagingModel(function, uniform(), arguments=arguments, accuracy=1e-4)({}).image


def test_a_uniform_object_has_the_value_one():
    image = image_of(gradient_echo)
    assert image.shape == (N, N)
    torch.testing.assert_close(image.abs(), torch.ones(N, N), atol=2e-3, rtol=0)


@pytest.mark.parametrize("count", [8, 9])
def test_an_object_lies_where_it_is_in_even_and_odd_matrices(count):
    """In the image, in the phantom's mask, and in the NIfTI file."""
    inside = torch.zeros(48, 48)
    inside[26:38, 8:20] = 1.0
    tissue = TissuePool.of(inside, T1=10.0, T2=10.0, T2dash=1e6, D=0.0)
    phantom = Phantom({"tissue": tissue}, {"block": inside}, (FOV, FOV), 5e-3)
    lines = range(-(count // 2), count - count // 2)
    image = ImagingModel(gradient_echo, phantom, arguments={"lines": lines}, accuracy=1e-4)(
        {}
    ).image
    assert image.shape == (N, count)
    bright = image.abs() > 0.5
    mask = phantom.mask("block", matrix=(N, count), threshold=0.5)
    assert torch.equal(bright, mask)
    affine = image_affine(image.shape, (FOV, FOV), 5e-3)
    x, y, _ = apply_affine(affine, [*torch.nonzero(bright).double().mean(0).tolist(), 0])
    # voxels 26 to 37 and 8 to 19 of 48, the 24th being in the middle
    assert (x, y) == pytest.approx((1e3 * FOV * 7.5 / 48, -1e3 * FOV * 10.5 / 48), abs=7)


def noise(seq):
    seq.add_block(pp.make_adc(32, dwell=1e-5, system=SYSTEM), label("NOISE", 1))
    seq.add_block(label("NOISE", 0), pp.make_delay(1e-3))


def navigator(seq):
    excite(seq, 0.7, 1.0)
    for _ in range(3):
        read(seq, 0, label("NAV", 1), label("AVG", 1))
    seq.add_block(label("NAV", 0), label("AVG", 0), pp.make_delay(1e-3))


def reference(seq):
    for line in (-1, 0, 1):
        excite(seq, 0.7, 1.0)
        read(seq, line, label("REF", 1))
    seq.add_block(label("REF", 0), pp.make_delay(1e-3))


def late_noise(seq):
    excite(seq)
    noise(seq)


@pytest.mark.parametrize("extra", [noise, late_noise, navigator, reference])
def test_what_is_not_for_the_image_does_not_count(extra):
    torch.testing.assert_close(
        image_of(gradient_echo, extra=extra), image_of(gradient_echo), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("extra", [noise, late_noise, navigator, reference])
@pytest.mark.parametrize("pulses", ["instantaneous", "played"])
def test_neither_does_it_in_a_file(extra, pulses, tmp_path):
    seq = gradient_echo(extra)
    seq.write(str(tmp_path / "labelled.seq"))
    repetitions = imported_repetitions(tmp_path / "labelled.seq", pulses)
    kspace = repetitions.kspace()
    chosen = samples_of_image(repetitions, kspace, (FOV, FOV))
    assert len(kspace[chosen]) == N * N
    expected = convert(gradient_echo()).kspace()
    torch.testing.assert_close(kspace[chosen][:, :3], expected[:, :3], atol=0.05, rtol=0)


def test_reference_samples_that_are_of_the_image_count():
    seq = gradient_echo(
        lambda seq: seq.add_block(label("REF", 1), label("IMA", 1), pp.make_delay(1.0))
    )
    repetitions = convert(seq)
    assert len(repetitions.kspace()[imaged(repetitions)]) == N * N


def test_if_nothing_is_for_the_image_that_is_said():
    def all_navigators():
        return gradient_echo(lambda seq: seq.add_block(label("NAV", 1), pp.make_delay(1.0)))

    with pytest.raises(SequenceError, match="all samples are labelled NAV, NOISE or REF"):
        image_of(all_navigators)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ECO", "of 3 echoes"),
        ("SLC", "of 3 slices"),
        ("PAR", "of 3 partitions"),
        ("SET", "of 3 sets"),
        ("REP", "of 3 repetitions"),
        ("PHS", "of 3 cardiac phases"),
    ],
)
def test_samples_of_several_images_are_refused(name, what):
    def several():
        seq = pp.Sequence(SYSTEM)
        for value in range(3):
            for line in range(-N // 2, N // 2):
                excite(seq)
                read(seq, line, label(name, value))
        seq.set_definition("FOV", [FOV, FOV, 5e-3])
        return seq

    with pytest.raises(SequenceError, match=what + r" \(label " + name + r"\).*sample one"):
        image_of(several)


@pytest.mark.parametrize("name", ["AVG", "SEG", "LIN", "ACQ"])
def test_samples_of_one_image_are_not(name):
    def averages():
        seq = pp.Sequence(SYSTEM)
        for value in range(2):
            for line in range(-N // 2, N // 2):
                excite(seq)
                read(seq, line, label(name, value))
        seq.set_definition("FOV", [FOV, FOV, 5e-3])
        return seq

    torch.testing.assert_close(image_of(averages), image_of(gradient_echo), atol=1e-4, rtol=0)


def test_echoes_are_refused_without_labels_too():
    with pytest.raises(SequenceError, match=r"several echoes, .* ms after excitation"):
        image_of(gradient_echo, echoes=((), (), ()))


def test_a_spectrum_at_each_place_is_no_echo():
    seq = pp.Sequence(SYSTEM)
    for line in range(-N // 2, N // 2):
        excite(seq)
        seq.add_block(pp.make_trapezoid("y", area=line / FOV, duration=1e-3, system=SYSTEM))
        seq.add_block(pp.make_adc(64, dwell=1e-4, system=SYSTEM))
    repetitions = convert(seq)
    assert samples_of_image(repetitions, repetitions.kspace(), (FOV, FOV)) == slice(None)


def test_spokes_may_pass_the_centre_at_several_echo_times():
    seq = pp.Sequence(SYSTEM)
    for number in range(6):
        excite(seq)
        angle = math.pi * number / 6
        gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=8e-4, system=SYSTEM)
        pre = pp.make_trapezoid("x", area=-gx.area / 2 - 0.5 / FOV, duration=1e-3, system=SYSTEM)
        seq.add_block(pp.make_delay(1e-3 * (1 + number)))
        seq.add_block(*pp.rotate(pre, angle=angle, axis="z", system=SYSTEM))
        adc = pp.make_adc(N, duration=8e-4, delay=gx.rise_time, system=SYSTEM)
        seq.add_block(*pp.rotate(gx, angle=angle, axis="z", system=SYSTEM), adc)
    repetitions = convert(seq)
    assert samples_of_image(repetitions, repetitions.kspace(), (FOV, FOV)) == slice(None)


def volume():
    seq = pp.Sequence(SYSTEM)
    for partition in range(4):
        for line in range(-N // 2, N // 2):
            excite(seq)
            read(seq, line, kz=(partition - 2) / 0.04)
    seq.set_definition("FOV", [FOV, FOV, 0.04])
    return seq


def tilted():
    seq = gradient_echo()
    turned = pp.Sequence(SYSTEM)
    for number in seq.block_events:
        turned.add_block(
            *pp.rotate(*parts(seq.get_block(number)), angle=0.2, axis="y", system=SYSTEM)
        )
    turned.set_definition("FOV", [FOV, FOV, 0.04])
    return turned


def parts(block):
    if block.rf is None and block.gx is None and block.adc is None:
        return [pp.make_delay(block.block_duration)]
    return [
        event for event in (block.rf, block.gx, block.gy, block.gz, block.adc) if event is not None
    ]


@pytest.mark.parametrize("function", [volume, tilted])
def test_samples_of_several_kz_are_refused(function):
    with pytest.raises(SequenceError, match=r"at several kz, .*sample one"):
        image_of(function)


def test_what_rephasers_leave_is_one_plane():
    """As where the slice gradient alternates: a sixth of a step, which a slice does not see."""

    def alternating(left=1 / 6):
        seq = pp.Sequence(SYSTEM)
        for line in range(-N // 2, N // 2):
            excite(seq)
            read(seq, line, kz=left / FOV * (0.5 if line % 2 else -0.5))
        seq.set_definition("FOV", [FOV, FOV, 5e-3])
        return seq

    expected = image_of(alternating, left=0.0)
    torch.testing.assert_close(image_of(alternating), expected, rtol=0, atol=1e-3)


def test_one_kz_dephases_and_is_no_volume():
    kz = 100.0
    boxes = uniform().simulation_data("box")
    image = ImagingModel(gradient_echo, boxes, arguments={"kz": kz}, accuracy=1e-4)({}).image
    # what is left of a slice with this much of a turn in it
    left = math.sin(math.pi * kz * 5e-3) / (math.pi * kz * 5e-3)
    torch.testing.assert_close(image.abs(), torch.full((N, N), left), atol=2e-2, rtol=0)


def test_contrasts_are_refused():
    repetitions = convert(gradient_echo())
    usage = repetitions.adc_usage.clone()
    usage[torch.nonzero(usage)[: N * N // 2]] = 2
    contrasts = repetitions.map(lambda x: usage if x is repetitions.adc_usage else x)
    with pytest.raises(SequenceError, match="of 2 contrasts"):
        samples_of_image(contrasts, contrasts.kspace(), (FOV, FOV))


def slices(*places):
    """Read all lines of slices at some places [m], which no label tells apart."""
    seq = pp.Sequence(SYSTEM)
    rf, gz, back = pp.make_sinc_pulse(
        math.pi / 2, duration=2e-3, slice_thickness=5e-3, return_gz=True, use="excitation",
        system=SYSTEM,
    )  # fmt: skip
    for line in range(-N // 2, N // 2):
        for place in places:
            rf.freq_offset = gz.amplitude * place
            seq.add_block(pp.make_delay(200.0))
            seq.add_block(rf, gz)
            seq.add_block(back)
            read(seq, line)
    seq.set_definition("FOV", [FOV, FOV, 5e-3])
    return seq


def test_slices_without_labels_are_told_apart_by_their_places(tmp_path):
    sequence = slices(-6e-3, 0.0, 6e-3)
    numbers = convert(sequence).labels["SLC"].view(N, 3, N)
    assert bool((numbers == torch.arange(3)[:, None]).all())
    with pytest.raises(SequenceError, match="of 3 slices"):
        image_of(lambda: slices(-6e-3, 0.0, 6e-3))
    sequence.write(str(tmp_path / "slices.seq"))
    assert imported_repetitions(tmp_path / "slices.seq").labels["SLC"].unique().tolist() == [
        0,
        1,
        2,
    ]


def test_one_slice_wherever_it_lies_is_one_image():
    assert "SLC" not in convert(slices(6e-3)).labels
    assert image_of(lambda: slices(6e-3)).shape == (N, N)

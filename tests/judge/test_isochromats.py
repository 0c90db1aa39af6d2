"""The judge is judged by closed forms; then it judges the phase distribution graphs."""

import dataclasses
import math

import MRzeroCore as mr0
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.reconstruction import reconstruct
from pulseq_zero.judge.course import course_of
from pulseq_zero.judge.isochromats import (
    converged_isochromats,
    isochromat_signal,
)
from pulseq_zero.judge.pulse_series import pulse_table
from pulseq_zero.judge.seq import read_course
from pulseq_zero.simulation import simulate
from support import definition
from support.sequences import CASES, Writer, phantom

T1, T2, SIZE = 0.9, 0.08, 0.01


def voxel(B0: float = 0.0, T2: float = T2, T2dash: float = 1e6, B1: float = 1.0) -> mr0.SimData:
    one = torch.ones(1, 1, 1)
    return mr0.VoxelGridPhantom(
        PD=one,
        T1=T1 * one,
        T2=T2 * one,
        T2dash=T2dash * one,
        D=0 * one,
        B0=B0 * one,
        B1=B1 * one[None],
        coil_sens=one[None],
        affine=torch.diag(torch.tensor([SIZE, SIZE, SIZE])).mul(1000) @ torch.eye(3, 4),
    ).build(voxel_shape="box")


def signal_of(write: Writer, data: mr0.SimData, spins: int = 64) -> torch.Tensor:
    return isochromat_signal(course_of(write.finish()), data, spins)[:, 0]


@pytest.mark.parametrize(("flip", "phase"), [(90, 0), (30, 70), (200, -40)])
def test_hard_pulse(flip, phase):
    write = Writer()
    write.pulse(flip, phase, "excitation")
    write.sample(0.0, 0.0)
    angle = math.radians(flip) * 1.1
    expected = -1j * math.sin(angle) * np.exp(1j * math.radians(phase))
    actual = complex(signal_of(write, voxel(B1=1.1))[0])
    assert actual == pytest.approx(expected, abs=1e-5)


def test_free_induction_decays_by_both_T2_and_turns_by_B0():
    write, time = Writer(), 7e-3
    write.pulse(90, 90, "excitation")
    write.sample(time, 0.0)
    signal = complex(signal_of(write, voxel(B0=30.0, T2dash=0.02), 4096)[0])
    expected = np.exp(-time / T2 - time / 0.02 + 2j * math.pi * 30.0 * time)
    assert signal == pytest.approx(expected, abs=5e-3)


def test_spin_echo_refocuses_B0_gradients_and_T2dash():
    write, time = Writer(), 10e-3
    write.pulse(90, 90, "excitation")
    write.wait(time, 130.0, 70.0, -40.0)
    write.pulse(180, 0, "refocusing")
    write.sample(time, 0.0)
    write.events[-1][0] = (time, 130.0, 70.0, -40.0, 0.0, 1)
    signal = complex(signal_of(write, voxel(B0=30.0, T2dash=5e-3), 256)[0])
    assert signal == pytest.approx(np.exp(-2 * time / T2), abs=1e-4)


def test_inversion_recovery():
    for time in (0.1, 0.6, 2.0):
        write = Writer()
        write.pulse(180, 0, "inversion")
        write.wait(time)
        write.pulse(90, 90, "excitation")
        write.sample(0.0, 0.0)
        expected = 1 - 2 * math.exp(-time / T1)
        assert complex(signal_of(write, voxel())[0]) == pytest.approx(expected, abs=1e-5)


def test_spoiled_steady_state():
    write, flip, time = Writer(), 25.0, 0.1
    for _ in range(60):
        write.pulse(flip, 90, "excitation")
        write.sample(0.0, 0.0)
        write.wait(time)
    # With so short a T2, nothing transverse is left at the next pulse.
    signal = complex(signal_of(write, voxel(T2=time / 20))[-1])
    decay, angle = math.exp(-time / T1), math.radians(flip)
    expected = math.sin(angle) * (1 - decay) / (1 - decay * math.cos(angle))
    assert signal == pytest.approx(expected, abs=1e-4)


def test_balanced_steady_state():
    write, flip, time = Writer(), 50.0, 6e-3
    for number in range(800):
        write.pulse(flip, 90 + 180 * (number % 2), "excitation")
        write.sample(time / 2, 0.0)
        write.wait(time / 2)
    signal = abs(complex(signal_of(write, voxel(), 1)[-1]))
    e1, e2, angle = math.exp(-time / T1), math.exp(-time / T2), math.radians(flip)
    expected = math.sin(angle) * (1 - e1) / (1 - (e1 - e2) * math.cos(angle) - e1 * e2)
    assert signal == pytest.approx(expected * math.exp(-time / 2 / T2), rel=1e-3)


def echo_train(flip: float, spacing: float, echoes: int) -> np.ndarray:
    """Follow the extended phase graph of a CPMG train.

    Weigel, JMRI 2015, doi:10.1002/jmri.24619.
    """
    a, orders = math.radians(flip), 2 * echoes + 2
    c, s, sine, cosine = math.cos(a / 2) ** 2, math.sin(a / 2) ** 2, math.sin(a), math.cos(a)
    # Rotation about x of F+, F-, Z
    turn = np.array([[c, s, -1j * sine], [s, c, 1j * sine], [-0.5j * sine, 0.5j * sine, cosine]])
    e1, e2 = math.exp(-spacing / 2 / T1), math.exp(-spacing / 2 / T2)
    states = np.zeros((3, orders), complex)
    states[:2, 0] = 1
    result = []

    def half() -> None:
        states[:2] *= e2
        states[2] *= e1
        states[2, 0] += 1 - e1
        states[0, 1:] = states[0, :-1].copy()
        states[1, :-1] = states[1, 1:].copy()
        states[1, -1] = 0
        states[0, 0] = states[1, 0].conj()

    for _ in range(echoes):
        half()
        states[:] = turn @ states
        half()
        result.append(states[0, 0])
    return np.array(result)


@pytest.mark.parametrize("flip", [180, 120, 60])
def test_echo_train(flip):
    write, spacing, echoes = Writer(), 12e-3, 8
    write.pulse(90, 90, "excitation")
    write.wait(spacing / 2, kz=3 / SIZE)
    for _ in range(echoes):
        write.pulse(flip, 0, "refocusing")
        write.events[-1].append((spacing / 2, 0.0, 0.0, 3 / SIZE, 0.0, 1))
        write.wait(spacing / 2, kz=3 / SIZE)
    signal = signal_of(write, voxel(B0=20.0, T2dash=1e6), 4096).numpy()
    # On the way, off-resonance is refocused in every echo.
    np.testing.assert_allclose(signal, echo_train(flip, spacing, echoes), atol=3e-3)


@pytest.mark.parametrize("name", ["tse", "epi", "bssfp"])
def test_phase_distribution_graphs_agree(name):
    repetitions, data = CASES[name](10), phantom(10, shape="box", complex_b1=True)
    data.D = torch.zeros_like(data.D)

    def image(signal):
        return reconstruct(signal, repetitions.kspace(), (10, 10), (0.224, 0.224))

    judged = image(simulate(repetitions, data, 1e-6).signal)
    judge = converged_isochromats(course_of(repetitions), data, tolerance=1e-2)
    reference = image(judge.signal)
    assert judge.scatter <= 1e-2
    assert float((judged - reference).norm() / reference.norm()) < judge.scatter


def test_balanced_axes_dephase_exactly():
    """One spin in the plane will do: the box's own sinc, sample by sample, is known."""
    write, turns, area = Writer(), 16, 2 / SIZE
    write.pulse(90, 90, "excitation")
    write.wait(1e-3, kx=-area, ky=area / 3)
    for _ in range(turns):
        write.sample(1e-4, 2 * area / turns)
    signal = signal_of(write, voxel(B0=10.0, T2=1e6), 1).numpy()
    x = np.linspace(-area, area, turns + 1)[1:] * SIZE
    time = 1e-3 + 1e-4 * np.arange(1, turns + 1)
    expected = np.sinc(x) * np.sinc(2 / 3) * np.exp(2j * math.pi * 10.0 * time)
    np.testing.assert_allclose(signal, expected, atol=2e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gradient_during_a_pulse_is_not_balanced(sign, tmp_path):
    """Of a sum over places, whichever way the gradient points."""
    sequence, (rf, gradient, rephase) = pp.Sequence(SYSTEM), sinc_pulse(90)
    sequence.add_block(rf, pp.scale_grad(gradient, sign))
    sequence.add_block(pp.scale_grad(rephase, sign))
    sequence.add_block(pp.make_adc(1, dwell=1e-5, system=SYSTEM))
    sequence.write(str(tmp_path / "slice.seq"))
    data = voxel(T2=1e6)
    wide, narrow = (
        isochromat_signal(
            read_course(tmp_path / "slice.seq"), data, 2**10, voxel_size=(SIZE, SIZE, width)
        )
        for width in (0.02, 0.01)
    )
    # Nothing is excited beyond the slice of 5 mm: twice the voxel holds the same signal
    torch.testing.assert_close(wide, narrow, rtol=2e-2, atol=0.0)


def test_seeds_disagree_less_with_more_spins():
    course, data = course_of(CASES["epi"](6)), phantom(6, shape="box")
    few, many = (
        converged_isochromats(course, data, tolerance=0.0, spins=spins, largest=spins)
        for spins in (64, 1024)
    )
    assert many.scatter < 0.5 * few.scatter


def test_spins_go_where_they_are_needed():
    """Of two voxels, the one with nothing to add keeps the few spins that it begins with."""
    course, data = course_of(CASES["tse"](6)), phantom(6, shape="box")
    data.PD = data.PD.clone()
    data.PD[1:] = 1e-6
    result = converged_isochromats(course, data, tolerance=1e-2, spins=16)
    assert result.scatter <= 1e-2
    assert 16 < result.spins < 16 + 4096 / len(data.PD)


SYSTEM = pp.Opts(max_grad=60, grad_unit="mT/m", max_slew=200, slew_unit="T/m/s")


def one_pulse(tmp_path, rf, gradient=None):
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(*(event for event in (rf, gradient) if event is not None))
    sequence.write(str(tmp_path / "pulse.seq"))
    # A long one is in parts, between which spins relax
    parts = [p for p in read_course(tmp_path / "pulse.seq").pulse if p is not None]
    return dataclasses.replace(parts[0], field=np.concatenate([part.field for part in parts]))


def rotation(pulse, frequency: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the first column of the pulse's matrix of SU(2)."""
    table = pulse_table(pulse.field, pulse.step, np.array([scale * pulse.angle]), frequency)[0]
    return table[:, 0] + 1j * table[:, 1], table[:, 2] + 1j * table[:, 3]


def test_off_resonant_block_pulse(tmp_path):
    """Tilted by the effective field: Mz = cos²β + sin²β cos(Ω t)."""
    rf = pp.make_block_pulse(math.pi / 2, duration=1e-3, system=SYSTEM, use="excitation")
    offset = np.array([0.0, 150.0, -400.0])
    a, b = rotation(one_pulse(tmp_path, rf), offset)
    effective = np.sqrt(250.0**2 + offset**2)
    cosine = offset / effective
    expected = cosine**2 + (1 - cosine**2) * np.cos(2 * math.pi * effective * 1e-3)
    np.testing.assert_allclose(abs(a) ** 2 - abs(b) ** 2, expected, atol=1e-4)


def test_adiabatic_inversion(tmp_path):
    rf = pp.make_adiabatic_pulse("hypsec", duration=10e-3, system=SYSTEM, use="inversion")
    pulse = one_pulse(tmp_path, rf)
    for scale in (1.0, 1.5):
        a, b = rotation(pulse, np.linspace(-200, 200, 9), scale)
        assert (abs(a) ** 2 - abs(b) ** 2).max() < -0.97
    with pytest.raises(SequenceError, match="a pulse whose phase changes is no rotation"):
        read_course(tmp_path / "pulse.seq", "instantaneous")


def sinc_pulse(flip_deg):
    return pp.make_sinc_pulse(
        math.radians(flip_deg),
        duration=3e-3,
        slice_thickness=5e-3,
        time_bw_product=4,
        apodization=0.5,
        system=SYSTEM,
        return_gz=True,
        use="excitation",
    )


def test_slice_profile_of_a_small_flip(tmp_path):
    """Small flips excite the Fourier transform of the pulse, at the place of its frequency."""
    rf, gradient, _ = sinc_pulse(3)
    shift = 4e-3
    rf.freq_offset = gradient.amplitude * shift
    pulse = one_pulse(tmp_path, rf, gradient)
    np.testing.assert_allclose(
        pulse.gradient, np.tile([0, 0, gradient.amplitude], (300, 1)), rtol=1e-4
    )
    z = np.linspace(-0.01, 0.015, 101)
    a, b = rotation(pulse, gradient.amplitude * z)
    time = (np.arange(len(pulse.field)) + 0.5) * pulse.step
    shape = np.interp(time, rf.t, rf.signal)
    wave = np.exp(2j * math.pi * gradient.amplitude * np.outer(z - shift, time))
    expected = 2 * math.pi * pulse.step * np.abs(wave @ shape)
    actual = 2 * abs(a * b)
    assert np.abs(actual - expected).max() < 0.02 * expected.max()
    assert abs(float((z * actual).sum() / actual.sum()) - shift) < 2e-4


def test_a_rephased_slice_has_the_signal_of_its_profile(tmp_path):
    """Sum the profile, from a separate integration, over a voxel that is wider than the slice."""
    sequence, (rf, gradient, rephase) = pp.Sequence(SYSTEM), sinc_pulse(90)
    sequence.add_block(rf, gradient)
    sequence.add_block(rephase)
    sequence.add_block(pp.make_adc(1, dwell=1e-5, system=SYSTEM))
    sequence.write(str(tmp_path / "slice.seq"))
    course, width = read_course(tmp_path / "slice.seq"), 0.02
    size = (SIZE, SIZE, width)
    data = voxel(T2=1e6)
    signal = complex(isochromat_signal(course, data, 2**14, voxel_size=size)[0, 0])
    (pulse,) = (p for p in course.pulse if p is not None)
    z = (np.arange(4000) + 0.5) / 4000 * width - width / 2
    a, b = rotation(pulse, gradient.amplitude * z)
    after = course.moment[1][2] if len(course.moment) > 1 else course.moment[0][2]
    transverse = 2 * a.conj() * b * np.exp(2j * math.pi * after * z + 1j * pulse.phase)
    receiver = np.exp(1j * course.receiver_phase[0])
    expected = complex((transverse * receiver).mean()) * width / SIZE
    assert signal == pytest.approx(expected, abs=2e-3 * abs(expected))


def played(sequence, data, width, count=400):
    """Sum Bloch's equation, as Pulseq defines it, over a line of spins along z."""
    z = ((np.arange(count) + 0.5) / count - 0.5) * width
    spins = definition.Spins(
        np.stack([0 * z, 0 * z, z], 1),
        float(data.B0[0]),
        T1,
        float(data.T2[0]),
        float(data.B1[0, 0]),
    )
    return definition.play(sequence, spins, step=5e-6) / count * width / SIZE


@pytest.mark.parametrize("amplitudes", [(1, 1), (0.8, 1.1)])
def test_a_pulse_while_its_gradient_changes(amplitudes, tmp_path):
    """VERSE: the gradient rises and falls during the pulse, which has other spins off resonance."""
    sequence, duration = pp.Sequence(SYSTEM), 2.4e-3
    times = duration * np.array([0, 0.25, 0.5, 0.75, 1])
    gradient = pp.make_extended_trapezoid(
        "z",
        times=np.concatenate([[0], 1e-4 + times, [2.7e-3]]),
        amplitudes=4e5 * np.array([0, 0.6, 1, 0.4, 1.0, 0.6, 0]),
        system=SYSTEM,
    )
    rephase = pp.make_trapezoid("z", area=-4e5 * 0.7 * duration / 2, system=SYSTEM)
    for amplitude in amplitudes:
        pulse = pp.make_sinc_pulse(
            amplitude * math.pi / 2, duration=duration, time_bw_product=4, delay=1e-4,
            system=SYSTEM, use="excitation",
        )  # fmt: skip
        sequence.add_block(pulse, gradient)
        sequence.add_block(rephase)
        sequence.add_block(pp.make_adc(2, dwell=1e-4, system=SYSTEM))
    sequence.write(str(tmp_path / "verse.seq"))
    # Relaxation during the pulse is halved into before and after, which is no matter here
    data, width = voxel(B0=35.0, B1=0.9, T2=1e6), 0.02
    size = (SIZE, SIZE, width)
    course = read_course(tmp_path / "verse.seq", rf_step=5e-6)
    actual = isochromat_signal(course, data, 2**10, voxel_size=size).numpy()[:, 0]
    expected = played(sequence, data, width)
    np.testing.assert_allclose(actual, 1j * expected, atol=2e-3 * np.abs(expected).max())


def test_blocks_that_are_rotated_excite_an_oblique_slice(tmp_path):
    """Rotated about x by 90 degrees, a slice lies across y."""
    signals = []
    for angle, axis in ((0.0, 2), (math.pi / 2, 1), (-math.pi / 5, None)):
        sequence, (rf, gradient, rephase) = pp.Sequence(SYSTEM), sinc_pulse(90)
        for event in (gradient, rephase):
            turned = pp.rotate(event, angle=angle, axis="x") if angle else [event]
            sequence.add_block(*([rf] if event is gradient else []), *turned)
        sequence.add_block(pp.make_adc(1, dwell=1e-5, system=SYSTEM))
        sequence.write(str(tmp_path / "rotated.seq"))
        size = [0.02, 0.02, 0.02]
        if axis is not None:
            size[1], size[2] = (0.02, SIZE) if axis == 1 else (SIZE, 0.02)
        course = read_course(tmp_path / "rotated.seq")
        signal = isochromat_signal(course, voxel(T2=1e6), 2**12, voxel_size=tuple(size))
        signals.append(complex(signal[0, 0]) / np.prod(size))
    assert signals[1] == pytest.approx(signals[0], rel=5e-3)
    # Slanted, as much more of the slice lies in the box
    assert signals[2] == pytest.approx(signals[0] / math.cos(math.pi / 5), rel=1e-2)


@pytest.mark.parametrize("physics", ["full", "instantaneous"])
def test_a_pulse_without_power_does_nothing(physics, tmp_path):
    """An optimizer that saves power may set a flip angle to zero; its gradient still plays."""
    _, gradient, _ = sinc_pulse(90)
    signals = []
    for flip in (0, None):
        sequence = pp.Sequence(SYSTEM)
        sequence.add_block(*sinc_pulse(90)[:2])
        sequence.add_block(*([gradient] if flip is None else sinc_pulse(flip)[:2]))
        sequence.add_block(sinc_pulse(90)[2])
        sequence.add_block(pp.make_adc(4, dwell=1e-5, system=SYSTEM))
        sequence.write(str(tmp_path / "silent.seq"))
        course = read_course(tmp_path / "silent.seq", physics)
        signals.append(isochromat_signal(course, voxel(B0=30.0), 2**10, voxel_size=(SIZE,) * 3))
    torch.testing.assert_close(signals[0], signals[1], rtol=1e-4, atol=1e-6)
    assert signals[0].abs().min() > 1e-5


def test_short_pulses_are_rotations(tmp_path):
    sequence = pp.Sequence(SYSTEM)
    excite = pp.make_block_pulse(
        math.radians(50), duration=20e-6, phase_offset=0.7, system=SYSTEM, use="excitation"
    )
    refocus = pp.make_block_pulse(
        math.radians(160), duration=40e-6, system=SYSTEM, use="refocusing"
    )
    readout = pp.make_trapezoid("x", flat_area=300, flat_time=2e-3, system=SYSTEM)
    adc = pp.make_adc(20, duration=2e-3, delay=readout.rise_time, phase_offset=0.3, system=SYSTEM)
    sequence.add_block(excite)
    sequence.add_block(pp.make_trapezoid("x", area=readout.area / 2, duration=4e-3, system=SYSTEM))
    sequence.add_block(refocus)
    sequence.add_block(pp.make_delay(2e-3))
    sequence.add_block(readout, adc)
    sequence.write(str(tmp_path / "short.seq"))
    data = phantom(8, shape="box", complex_b1=True)
    full = isochromat_signal(read_course(tmp_path / "short.seq"), data, 256)
    at_once = isochromat_signal(read_course(tmp_path / "short.seq", "instantaneous"), data, 256)

    write, ramp = Writer(), readout.rise_time
    dead = excite.delay, refocus.delay
    write.pulse(50, math.degrees(0.7), "excitation")
    write.events[-1] = [
        (
            float(sequence.block_durations[1]) - dead[0] - 10e-6
            + float(sequence.block_durations[2]) + dead[1] + 20e-6,
            readout.area / 2, 0.0, 0.0, 0.0, 0,
        )
    ]  # fmt: skip
    write.pulse(160, 0, "refocusing")
    before = float(sequence.block_durations[3]) - dead[1] - 20e-6 + 2e-3
    slope = readout.amplitude
    write.wait(before + ramp, kx=slope * ramp / 2)
    phase = 90 - math.degrees(0.3)
    write.sample(adc.dwell / 2, slope * adc.dwell / 2, phase_degrees=phase)
    for _ in range(19):
        write.sample(adc.dwell, slope * adc.dwell, phase_degrees=phase)
    expected = isochromat_signal(course_of(write.finish()), data, 256)
    assert float((at_once - expected).norm() / expected.norm()) < 1e-4
    # What is left is spins far off resonance, which the pulses miss.
    assert float((full - expected).norm() / expected.norm()) < 1e-2

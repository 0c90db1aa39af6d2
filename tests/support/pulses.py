"""Sequences of the pulses that scanners play, and Bloch's equation for them.

Each sequence is a function of a factor of all of its pulses' fields.
"""

from __future__ import annotations

import numpy as np
import pypulseq as pp
import scipy.signal
import torch

from pulseq_zero.phantom import Phantom, TissuePool
from support.definition import Spins, play

SYSTEM = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3)


def phantom(thickness=1e-3, B0=(0.0,), B1=(1.0,), T1=1e9, T2=1e9, T2dash=1e9, D=0.0, PD=None):
    """Make box voxels in a row along x."""

    def column(values):
        return torch.tensor(np.asarray(values, dtype=float))[:, None]

    count = max(len(B0), len(B1))
    B0, B1 = np.broadcast_to(B0, count), np.broadcast_to(B1, count)
    PD = torch.ones(count, 1) if PD is None else column(PD)
    pool = TissuePool.of(PD, T1, T2, T2dash, D, column(B0), column(B1).to(torch.complex64))
    return Phantom({"tissue": pool}, {}, (1e-3 * count, 1e-3), thickness).simulation_data("box")


def points(places, **values):
    """Make points at (points, xyz) places [m]."""
    data = phantom(B0=np.zeros(len(places)), **values)
    data.voxel_pos = torch.as_tensor(places, dtype=torch.float32)
    data.nyquist = torch.full((3,), torch.inf)
    data.dephasing_func = lambda k, _: torch.ones_like(k[:, 0])
    return data


def bloch(sequence, data, spins=1, step=4e-6, axis=2):
    """Play a sequence to spins along an axis of each voxel; as the simulation turns samples."""
    size = 0.5 / float(data.nyquist[axis])
    along = (np.arange(spins) + 0.5) / spins * size - size / 2
    total = 0
    for voxel, place in enumerate(data.voxel_pos.double().numpy()):
        places = np.tile(place, (spins, 1))
        places[:, axis] += along if spins > 1 else 0.0
        weight = float(data.PD[voxel]) / spins
        those = Spins(
            places,
            frequencies=float(data.B0[voxel]),
            T1=float(data.T1[voxel]),
            T2=float(data.T2[voxel]),
            B1=complex(data.B1[0, voxel]),
            coil=weight,
        )
        total = total + np.array(play(sequence, those, step=step))
    return 1j * total


def distance(one, other):
    """Norm of the difference of two signals, relative to the second."""
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def adc(samples=4, **options):
    return pp.make_adc(samples, dwell=1e-4, system=SYSTEM, **options)


def after(*events, scale=1.0):
    """Play pulses and delays one after the other, and sample."""
    sequence = pp.Sequence(SYSTEM)
    for event in events:
        sequence.add_block(event if event.type == "delay" else scaled(event, scale))
    sequence.add_block(adc())
    return sequence


def scaled(pulse, scale):
    """Multiply the field of a pulse."""
    pulse.signal = pulse.signal * scale
    return pulse


def selective(flip, use, duration=3e-3, thickness=5e-3, **options):
    return pp.make_sinc_pulse(
        flip,
        system=SYSTEM,
        duration=duration,
        slice_thickness=thickness,
        apodization=0.5,
        time_bw_product=4,
        return_gz=True,
        use=use,
        **options,
    )


def block(flip, **options):
    return pp.make_block_pulse(flip, system=SYSTEM, **{"use": "excitation", **options})


# Pulses of the same field everywhere


def hard(scale=1.0):
    return after(block(1.2, duration=1e-3), scale=scale)


def hard_off_resonance(scale=1.0):
    pulse = block(1.2, duration=1e-3, freq_offset=150, phase_offset=0.4)
    return after(pulse, scale=scale)


def sinc(scale=1.0):
    pulse = pp.make_sinc_pulse(
        np.pi / 2, duration=3e-3, time_bw_product=4, system=SYSTEM, use="excitation"
    )
    return after(pulse, scale=scale)


def gauss(scale=1.0):
    pulse = pp.make_gauss_pulse(np.pi / 2, duration=4e-3, system=SYSTEM, use="excitation")
    return after(pulse, scale=scale)


def slr(scale=1.0):
    return after(slr_pulse(2.0), scale=scale)


def slr_pulse(flip, samples=150, duration=3e-3, time_bandwidth=6.0):
    """Design a pulse by the algorithm of Shinnar and Le Roux, of linear phase.

    Pauly et al., IEEE Trans Med Imaging 10:53 (1991), doi:10.1109/42.75611: polynomials of z are
    taken apart into rotations, one after the other.
    """
    edges = np.array([0.0, 0.6, 1.4, samples / time_bandwidth]) * time_bandwidth / samples
    b = scipy.signal.remez(samples, edges / 2, [1, 0], fs=1) * np.sin(flip / 2)
    fine = 16 * samples
    size = np.log(np.sqrt(np.maximum(1 - np.abs(np.fft.fft(b, fine)) ** 2, 1e-12)))
    cepstrum = np.fft.ifft(size)
    cepstrum[1 : fine // 2] *= 2
    cepstrum[fine // 2 + 1 :] = 0
    a, b, field = np.fft.ifft(np.exp(np.fft.fft(cepstrum)))[:samples], b + 0j, []
    for _ in range(samples):
        ratio = b[0] / a[0]
        half, way = np.arctan(abs(ratio)), np.exp(1j * np.angle(ratio))
        cosine, sine = np.cos(half), way * np.sin(half)
        field.append(2 * half * way)
        a, b = cosine * a + sine.conjugate() * b, cosine * b - sine * a
        a, b = a[:-1], b[1:]
    # Each rotation a constant field, sampled as finely as the scanner plays
    raster = SYSTEM.rf_raster_time
    signal = np.repeat(field, round(duration / samples / raster))
    return pp.make_arbitrary_rf(
        signal, abs(sum(field)), dwell=raster, system=SYSTEM, use="excitation"
    )


def fat_saturation(field=3.0, scale=1.0):
    """Play a Gauss pulse at -3.4 ppm, in a field of 3 or 1.5 T."""
    pulse = pp.make_gauss_pulse(
        1.9,
        duration=8e-3 * 3 / field,
        bandwidth=400 * field / 3,
        freq_offset=-440 * field / 3,
        system=SYSTEM,
        use="saturation",
    )
    return after(pulse, scale=scale)


def asymmetric(scale=1.0):
    time = np.linspace(0, 1, 300)
    pulse = pp.make_arbitrary_rf(
        np.exp(-4 * time) * np.sin(9 * time) * np.exp(1j),
        1.3,
        dwell=1e-5,
        system=SYSTEM,
        use="excitation",
    )
    return after(pulse, scale=scale)


def spin_lock(scale=1.0):
    """Lock for 20 ms at 300 Hz."""
    return after(
        block(np.pi / 2, duration=5e-4),
        block(2 * np.pi * 300 * 20e-3, duration=20e-3, phase_offset=-np.pi / 2, use="preparation"),
        block(np.pi / 2, duration=5e-4, phase_offset=np.pi),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
        scale=scale,
    )


def hypsec(scale=1.0):
    return after(
        pp.make_adiabatic_pulse("hypsec", duration=10e-3, system=SYSTEM, use="inversion"),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
        scale=scale,
    )


def mlev(scale=1.0):
    """Prepare T2 contrast by MLEV-4: four pulses of 1 ms."""
    refocusing = (
        event
        for phase in (1, 1, 3, 3)
        for event in (
            pp.make_delay(4e-3),
            block(np.pi, duration=1e-3, phase_offset=phase * np.pi / 2, use="preparation"),
            pp.make_delay(4e-3),
        )
    )
    return after(
        block(np.pi / 2, duration=5e-4),
        *refocusing,
        block(np.pi / 2, duration=5e-4, phase_offset=np.pi),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
        scale=scale,
    )


# Slices


def echoes(
    flip=1.5, refocusing=2.4, phase=0.3, area=1200.0, wait=2.5e-3, thickness=5e-3, shape=None
):
    """Three echoes of selective pulses, with crushers, that are no CPMG train."""
    sequence = pp.Sequence(SYSTEM)
    rf, gz, rewinder = selective(flip, "excitation", thickness=thickness, phase_offset=np.pi / 2)
    again, slab, _ = selective(refocusing, "refocusing", phase_offset=phase)
    if shape is not None:
        again.signal = again.signal * shape
    crusher = pp.make_trapezoid("z", area=area, system=SYSTEM, duration=2e-3)
    spoiler = pp.make_trapezoid("x", area=300.0, system=SYSTEM, duration=2e-3)
    delay = pp.make_delay(wait)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    for _ in range(3):
        sequence.add_block(delay, spoiler)
        sequence.add_block(crusher)
        sequence.add_block(again, slab)
        sequence.add_block(crusher)
        sequence.add_block(delay, spoiler)
        sequence.add_block(adc())
    return sequence


def off_centre(scale=1.0):
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    rf.freq_offset = gz.amplitude * 2e-3
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(scaled(rf, scale), gz)
    sequence.add_block(rewinder)
    sequence.add_block(adc())
    return sequence


def oblique(scale=1.0, turn=0.4, offset=1e-3):
    """Excite a slice that is turned about x, off the centre."""
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    rf.freq_offset = gz.amplitude * offset
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(scaled(rf, scale), *pp.rotate(gz, angle=turn, axis="x", system=SYSTEM))
    sequence.add_block(*pp.rotate(rewinder, angle=turn, axis="x", system=SYSTEM))
    sequence.add_block(adc())
    return sequence


def multi_slice(scale=1.0, places=(-8e-3, 0.0, 8e-3)):
    """Excite slices one after the other, and sample each before the next."""
    sequence = pp.Sequence(SYSTEM)
    rf, gz, rewinder = selective(np.pi / 2, "excitation", thickness=3e-3)
    spoiler = pp.make_trapezoid("z", area=4e3, system=SYSTEM)
    scaled(rf, scale)
    for place in places:
        rf.freq_offset = gz.amplitude * place
        rf.phase_offset = -2 * np.pi * rf.freq_offset * rf.center
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(adc(1))
        sequence.add_block(spoiler)
    return sequence


def inversion(scale=1.0):
    rf, gz, _ = pp.make_adiabatic_pulse(
        "hypsec", duration=10e-3, slice_thickness=6e-3, return_gz=True, system=SYSTEM,
        use="inversion",
    )  # fmt: skip
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(scaled(rf, scale), gz)
    sequence.add_block(pp.make_trapezoid("z", area=-gz.area / 2, system=SYSTEM))
    sequence.add_block(block(1.0, duration=1e-4))
    sequence.add_block(adc())
    return sequence


def verse(scale=1.0):
    """Play a pulse under a gradient that is weaker where the field is strong."""
    raster = SYSTEM.grad_raster_time
    time = (np.arange(200) + 0.5) * raster
    gradient = 3e5 + 2e5 * np.cos(2 * np.pi * time / 2e-3)
    gradient[:20] *= np.linspace(0, 1, 20)
    gradient[-20:] *= np.linspace(1, 0, 20)
    k = np.cumsum(gradient) * raster
    k -= k[-1] / 2
    field = gradient * np.sinc(k * 4e-3) * np.cos(np.pi * k / k[-1] / 2) ** 2
    rf = pp.make_arbitrary_rf(
        field, 1.2, dwell=raster, system=SYSTEM, use="excitation", return_gz=False
    )
    gz = pp.make_arbitrary_grad("z", gradient, first=0.0, last=0.0, system=SYSTEM)
    gz.delay = rf.delay
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(scaled(rf, scale), gz)
    sequence.add_block(pp.make_trapezoid("z", area=-gz.area / 2, system=SYSTEM))
    sequence.add_block(adc())
    return sequence


def steady(balanced, count=12, sampled=12, scale=1.0):
    """Play a gradient echo again and again, balanced or spoiled; the last ones are sampled."""
    rf, gz, rewinder = selective(0.5, "excitation", duration=2e-3)
    spoiler = pp.make_trapezoid("z", area=800, system=SYSTEM)
    wait = pp.make_delay(pp.calc_duration(adc(2)))
    sequence = pp.Sequence(SYSTEM)
    scaled(rf, scale)
    for number in range(count):
        phase = np.pi * number if balanced else np.deg2rad(117) * number * (number + 1) / 2
        rf.phase_offset = phase % (2 * np.pi)
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        if number >= count - sampled:
            sequence.add_block(adc(2, phase_offset=rf.phase_offset))
        else:
            sequence.add_block(wait)
        sequence.add_block(rewinder if balanced else spoiler)
    return sequence

"""Sequence scripts of the usual kinds, small; as people write them."""

import math
from math import ceil

import numpy as np
import pypulseq as pp
from pypulseq.calc_duration import calc_duration
from pypulseq.make_adc import make_adc
from pypulseq.make_delay import make_delay
from pypulseq.make_sinc_pulse import make_sinc_pulse
from pypulseq.make_trapezoid import make_trapezoid
from pypulseq.opts import Opts
from pypulseq.Sequence.sequence import Sequence

SYSTEM = pp.Opts(
    max_grad=30,
    grad_unit="mT/m",
    max_slew=120,
    slew_unit="T/m/s",
    rf_ringdown_time=20e-6,
    rf_dead_time=100e-6,
    adc_dead_time=10e-6,
)


def slice_pulse(flip_angle, thickness, use="excitation", **arguments):
    return pp.make_sinc_pulse(
        flip_angle,
        duration=2e-3,
        slice_thickness=thickness,
        apodization=0.5,
        time_bw_product=4,
        delay=SYSTEM.rf_dead_time,
        system=SYSTEM,
        return_gz=True,
        use=use,
        **arguments,
    )


def gre(flip_angle=0.3, TE=5e-3, fov=0.2, n=16, lines=4):
    """Gradient echo with RF spoiling, labels and a soft delay."""
    seq = pp.Sequence(SYSTEM)
    rf, gz, gzr = slice_pulse(flip_angle, 5e-3)
    gx = pp.make_trapezoid("x", flat_area=n / fov, flat_time=3.2e-3, system=SYSTEM)
    gx_pre = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=SYSTEM)
    adc = pp.make_adc(n, duration=gx.flat_time, delay=gx.rise_time, system=SYSTEM)
    wait = TE - pp.calc_duration(rf, gz) / 2 - 1e-3 - pp.calc_duration(gx) / 2
    wait = math.ceil(wait / seq.grad_raster_time) * seq.grad_raster_time
    spoiler = pp.make_trapezoid("z", area=4 / 5e-3, system=SYSTEM)
    for line in range(lines):
        rf.phase_offset = adc.phase_offset = np.deg2rad(117 * line * (line + 1) / 2 % 360)
        gy = pp.make_trapezoid("y", area=(line - lines / 2) / fov, duration=1e-3, system=SYSTEM)
        seq.add_block(rf, gz, pp.make_label("LIN", "SET", line))
        seq.add_block(gx_pre, gy, gzr)
        seq.add_block(pp.make_delay(wait))
        seq.add_block(gx, adc)
        seq.add_block(pp.scale_grad(gy, -1), spoiler, pp.make_label("SLC", "INC", 1))
        seq.add_block(pp.make_soft_delay("TR", default_duration=2e-3), pp.make_delay(2e-3))
    return seq


def radial(flip_angle=0.3, fov=0.2, n=16, spokes=5):
    """Spokes rotated by PyPulseq, sampled on the ramps too."""
    seq = pp.Sequence(SYSTEM)
    rf, gz, gzr = slice_pulse(flip_angle, 5e-3)
    gx = pp.make_trapezoid("x", area=n / fov, duration=2e-3, system=SYSTEM)
    gx_pre = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=SYSTEM)
    adc = pp.make_adc(n, duration=pp.calc_duration(gx) - 40e-6, delay=20e-6, system=SYSTEM)
    for spoke in range(spokes):
        angle = math.pi * spoke / spokes
        seq.add_block(rf, gz)
        seq.add_block(*pp.rotate(gx_pre, angle=angle, axis="z", system=SYSTEM), gzr)
        seq.add_block(*pp.rotate(gx, angle=angle, axis="z", system=SYSTEM), adc)
    return seq


def ute(flip_angle=0.2, fov=0.2, n=16):
    """Half pulse, readout from the centre of k-space while the gradient rises."""
    seq = pp.Sequence(SYSTEM)
    rf = pp.make_block_pulse(
        flip_angle, duration=1e-4, delay=SYSTEM.rf_dead_time, system=SYSTEM, use="excitation"
    )
    amplitude = n / fov / 1e-3
    gradient = pp.make_extended_trapezoid(
        "x",
        times=np.array([0, 2e-4, 1.2e-3, 1.4e-3]),
        amplitudes=np.array([0, amplitude, amplitude, 0]),
        system=SYSTEM,
    )
    seq.add_block(rf)
    seq.add_block(gradient, pp.make_adc(n, dwell=6e-5, delay=20e-6, system=SYSTEM))
    return seq


def epi_se(TE=40e-3, fov=0.2, n=16):
    """Spin echo EPI: ramp sampling, blips split between the lines, noise-like label use."""
    seq = pp.Sequence(SYSTEM)
    rf, gz, gzr = slice_pulse(np.pi / 2, 5e-3)
    refocusing = pp.make_block_pulse(
        np.pi,
        duration=5e-4,
        delay=SYSTEM.rf_dead_time,
        phase_offset=np.pi / 2,
        system=SYSTEM,
        use="refocusing",
    )
    delta_k = 1 / fov
    blip = pp.make_trapezoid("y", area=delta_k, duration=2e-4, system=SYSTEM)
    up, down = pp.split_gradient_at(blip, pp.calc_duration(blip) / 2, SYSTEM)
    gx = pp.make_trapezoid("x", area=(n + 4) * delta_k, duration=1e-3, system=SYSTEM)
    up, down, _ = pp.align(right=up, left=[down, gx])
    both = pp.add_gradients([up, down], system=SYSTEM)
    adc = pp.make_adc(n, dwell=5e-5, delay=1e-4, system=SYSTEM)
    pre = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=SYSTEM)
    pre_y = pp.make_trapezoid("y", area=-2 * delta_k, duration=1e-3, system=SYSTEM)
    spent = pp.calc_duration(rf, gz) / 2 + 1e-3 + refocusing.delay + refocusing.shape_dur / 2
    seq.add_block(rf, gz)
    seq.add_block(pp.scale_grad(pre, -1), pre_y, gzr)
    seq.add_block(pp.make_delay(round((TE / 2 - spent) / 1e-5) * 1e-5))
    seq.add_block(refocusing)
    for line in range(4):
        blips = {0: [up], 3: [down]}.get(line, [both])
        seq.add_block(gx, adc, *blips)
        gx = pp.scale_grad(gx, -1)
    return seq


def haste(TE=12e-3, flip_angle=2.5, fov=0.2, n=16, echoes=3):
    """Half-Fourier turbo spin echo with names imported from submodules."""
    system = Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s")
    seq = Sequence(system)
    rf, gz, gzr = make_sinc_pulse(
        np.pi / 2,
        duration=2e-3,
        slice_thickness=5e-3,
        phase_offset=np.pi / 2,
        return_gz=True,
        system=system,
        use="excitation",
    )
    gx = make_trapezoid("x", flat_area=n / fov, flat_time=3.2e-3, system=system)
    adc = make_adc(n, duration=3.2e-3, delay=gx.rise_time, system=system)
    gx_pre = make_trapezoid("x", area=gx.area / 2, duration=1e-3, system=system)
    crusher = make_trapezoid("z", area=30, duration=1.2e-3, system=system)
    ref, gz_ref, _ = make_sinc_pulse(
        flip_angle,
        duration=2e-3,
        slice_thickness=6e-3,
        return_gz=True,
        system=system,
        use="refocusing",
    )
    half = calc_duration(ref, gz_ref) / 2
    rest = TE / 2 - half - calc_duration(gx) / 2 - 1.2e-3
    rest = ceil(rest / system.grad_raster_time) * system.grad_raster_time
    seq.add_block(rf, gz)
    seq.add_block(gx_pre, gzr)
    wait = TE / 2 - calc_duration(rf, gz) / 2 - calc_duration(gx_pre, gzr) - half
    seq.add_block(make_delay(round(wait / 1e-5) * 1e-5))
    for echo in range(echoes):
        gy = make_trapezoid("y", area=(echo - 1) / fov, duration=1.2e-3, system=system)
        back = make_trapezoid("y", area=(1 - echo) / fov, duration=1.2e-3, system=system)
        seq.add_block(ref, gz_ref)
        seq.add_block(crusher, gy)
        seq.add_block(make_delay(rest))
        seq.add_block(gx, adc)
        seq.add_block(make_delay(rest))
        seq.add_block(crusher, back)
    return seq


def spiral(flip_angle=0.3, turns=3.0, n=800):
    """Sample an arbitrary gradient on two axes throughout."""
    seq = pp.Sequence(SYSTEM)
    t = np.linspace(0, 1, n)
    k = 40 * t * np.exp(2j * np.pi * turns * t)
    gradients = [
        pp.make_arbitrary_grad(axis, g, system=SYSTEM)
        for axis, g in zip("xy", pp.traj_to_grad(np.stack([k.real, k.imag]), 1e-5)[0], strict=True)
    ]
    rf, gz, gzr = slice_pulse(flip_angle, 5e-3)
    seq.add_block(rf, gz)
    seq.add_block(gzr)
    seq.add_block(*gradients, pp.make_adc(150, dwell=1e-5, delay=1e-4, system=SYSTEM))
    return seq


def mprage(TI=0.5, flip_angle=0.15, n=16, fov=0.2):
    """Adiabatic inversion, then a train of gradient echoes with non-selective pulses."""
    seq = pp.Sequence(SYSTEM)
    inversion = pp.make_adiabatic_pulse(
        "hypsec", duration=10.24e-3, dwell=5e-6, system=SYSTEM, use="inversion"
    )
    rf = pp.make_block_pulse(flip_angle, duration=1e-4, system=SYSTEM, use="excitation")
    gx = pp.make_trapezoid("x", flat_area=n / fov, flat_time=1.6e-3, system=SYSTEM)
    adc = pp.make_adc(n, duration=1.6e-3, delay=gx.rise_time, system=SYSTEM)
    pre = pp.make_trapezoid("x", area=-gx.area / 2, system=SYSTEM)
    seq.add_block(inversion)
    seq.add_block(pp.make_trapezoid("z", area=2000, system=SYSTEM))
    seq.add_block(pp.make_delay(np.ceil((TI - pp.calc_duration(rf) / 2) / 1e-5) * 1e-5))
    for partition in range(3):
        gz = pp.make_trapezoid("z", area=(partition - 1) / fov, duration=5e-4, system=SYSTEM)
        seq.add_block(rf)
        seq.add_block(pre, gz)
        seq.add_block(gx, adc)
        seq.add_block(pp.scale_grad(gz, -1))
    return seq

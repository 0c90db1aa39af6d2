"""Spin echo of one slice, a line of k-space in each TR.

This is a plain PyPulseq script: run it (python sequences/my_sequence.py) and it writes
``my_sequence.seq``. It knows nothing of optimization. Change it as you like; what you want to
optimize has to be an argument of the function, and all units are SI (s, m, Hz, rad).
"""

import numpy as np
import pypulseq as pp


def my_sequence(
    TE: float = 20e-3,
    TR: float = 3.0,
    fov: float = 0.224,
    n: int = 64,
    slice_thickness: float = 5e-3,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    TE
        Echo time (in seconds). It is played on the block raster.
    TR
        Time from excitation to excitation (in seconds).
    fov
        Field of view in both in-plane directions (in metres).
    n
        Number of lines, and of samples in a line.
    slice_thickness
        Thickness of the slice (in metres).
    """
    # Your scanner's limits and dead times
    system = pp.Opts(
        max_grad=32,
        grad_unit="mT/m",
        max_slew=130,
        slew_unit="T/m/s",
        rf_ringdown_time=20e-6,
        rf_dead_time=100e-6,
        adc_dead_time=10e-6,
    )
    seq = pp.Sequence(system)
    delta_k = 1 / fov

    # Excitation, and refocusing 90 degrees apart in phase
    def slice_pulse(flip_angle, phase, use):
        return pp.make_sinc_pulse(
            flip_angle=flip_angle,
            duration=2e-3,
            slice_thickness=slice_thickness,
            apodization=0.5,
            time_bw_product=4,
            phase_offset=phase,
            delay=system.rf_dead_time,
            system=system,
            return_gz=True,
            use=use,
        )

    rf_90, gz_90, gz_reph = slice_pulse(np.pi / 2, np.pi / 2, "excitation")
    rf_180, gz_180, _ = slice_pulse(np.pi, 0, "refocusing")

    # Readout: sample n // 2 is taken at the echo, at the centre of k-space
    dwell = 50e-6
    gx = pp.make_trapezoid(
        channel="x", flat_area=(n + 1) * delta_k, flat_time=(n + 1) * dwell, system=system
    )
    adc = pp.make_adc(num_samples=n, dwell=dwell, delay=gx.rise_time, system=system)
    gx_pre = pp.make_trapezoid(channel="x", area=gx.area / 2, duration=1.5e-3, system=system)

    # Crushers on both sides of the refocusing pulse; the first also rephases the slice
    gz_crush = pp.make_trapezoid(
        channel="z", area=4 / slice_thickness, duration=1.5e-3, system=system
    )
    gz_first = pp.make_trapezoid(
        channel="z", area=gz_crush.area + gz_reph.area, duration=1.5e-3, system=system
    )
    gz_spoil = pp.make_trapezoid(channel="z", area=10 / slice_thickness, system=system)

    # Timing: each wait is what a part of TE or TR leaves beside the events in it
    def wait(time, *events):
        time = round(time / system.block_duration_raster) * system.block_duration_raster
        if time < pp.calc_duration(*events):
            raise ValueError(f"TE = {TE} s or TR = {TR} s is too short for the events in it")
        return pp.make_delay(time)

    to_centre = rf_90.delay + rf_90.center  # from the start of a pulse's block to its centre
    from_centre = pp.calc_duration(rf_90, gz_90) - to_centre
    half_read = pp.calc_duration(gx) / 2
    wait_1 = wait(TE / 2 - from_centre - to_centre, gx_pre, gz_first)
    wait_2 = wait(TE / 2 - from_centre - half_read, gz_crush)
    wait_TR = wait(TR - to_centre - TE - half_read, gz_spoil)

    # Put the sequence together
    for line in np.arange(n) - n // 2:
        gy = pp.make_trapezoid(channel="y", area=line * delta_k, duration=1.5e-3, system=system)
        seq.add_block(rf_90, gz_90)
        seq.add_block(gx_pre, gz_first, wait_1)
        seq.add_block(rf_180, gz_180)
        seq.add_block(gy, gz_crush, wait_2)
        seq.add_block(gx, adc)
        seq.add_block(gz_spoil, wait_TR)

    # The image needs to know its field of view: x, y and z in metres
    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "my_sequence")
    return seq


if __name__ == "__main__":
    my_sequence().write("my_sequence.seq")

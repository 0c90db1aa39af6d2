"""Inversion-recovery single-shot EPI (FLAIR, when the inversion time nulls CSF).

An inversion, a spoiler, a delay, and a 2D echo-planar readout of one slice. The inversion is a
composite pulse, 90x 180y 90x (Levitt and Freeman, J Magn Reson 33:473, 1979), which inverts
98 % of the magnetisation even where the transmit field is off by 20 %. This is a plain PyPulseq
script: run it and it writes ``epi_ir.seq``.
"""

import numpy as np
import pypulseq as pp


def epi_ir(
    TI: float = 1.0,
    flip_angle: float = np.pi / 2,
    fov: float = 0.224,
    n_read: int = 64,
    n_phase: int = 64,
    slice_thickness: float = 5e-3,
    dwell: float = 4e-6,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    TI
        Inversion time, from the centre of the inversion to the centre of the excitation pulse
        (in seconds). It is played on the block raster.
    flip_angle
        Flip angle of the excitation (in radians).
    fov
        Field of view in both in-plane directions (in metres).
    n_read, n_phase
        Number of samples in a line, and number of lines.
    slice_thickness
        Thickness of the slice (in metres).
    dwell
        Time between two samples (in seconds).
    """
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

    # Preparation
    def hard_pulse(flip_angle, phase):
        return pp.make_block_pulse(
            flip_angle=flip_angle,
            duration=flip_angle / np.pi * 1e-3,
            phase_offset=phase,
            delay=system.rf_dead_time,
            system=system,
            use="inversion",
        )

    rf_90x, rf_180y = hard_pulse(np.pi / 2, 0), hard_pulse(np.pi, np.pi / 2)
    gz_spoil = pp.make_trapezoid(channel="z", area=10 / slice_thickness, system=system)

    # Excitation
    rf, gz, gz_reph = pp.make_sinc_pulse(
        flip_angle=flip_angle,
        duration=3e-3,
        slice_thickness=slice_thickness,
        apodization=0.5,
        time_bw_product=4,
        delay=system.rf_dead_time,
        system=system,
        return_gz=True,
        use="excitation",
    )

    # Readout: the line is centred so that sample n_read // 2 lies at the centre of k-space
    readout_time = n_read * dwell
    flat_time = np.ceil(readout_time / system.grad_raster_time) * system.grad_raster_time
    gx = pp.make_trapezoid(
        channel="x", amplitude=n_read * delta_k / readout_time, flat_time=flat_time, system=system
    )
    adc = pp.make_adc(
        num_samples=n_read,
        dwell=dwell,
        delay=gx.rise_time + (flat_time - readout_time) / 2,
        system=system,
    )
    gx_back = pp.scale_grad(gx, -1)
    gy_blip = pp.make_trapezoid(channel="y", area=delta_k, system=system)

    pre_time = 1e-3
    gx_pre = pp.make_trapezoid(
        channel="x", area=-gx.area / 2 - delta_k / 2, duration=pre_time, system=system
    )
    gy_pre = pp.make_trapezoid(
        channel="y", area=-(n_phase // 2) * delta_k, duration=pre_time, system=system
    )
    gz_reph = pp.make_trapezoid(channel="z", area=gz_reph.area, duration=pre_time, system=system)

    # The delay is what the inversion time leaves beside pulses and spoiler
    after_inversion = pp.calc_duration(rf_180y) - rf_180y.delay - pp.calc_rf_center(rf_180y)[0]
    after_inversion += pp.calc_duration(rf_90x) + pp.calc_duration(gz_spoil)
    start_to_excitation = rf.delay + pp.calc_rf_center(rf)[0]
    delay_TI = TI - after_inversion - start_to_excitation
    delay_TI = round(delay_TI / system.block_duration_raster) * system.block_duration_raster
    if delay_TI < 0:
        raise ValueError(f"TI = {TI} s is too short for the pulses and the spoiler between them")

    # Put the sequence together
    for rf_inv in (rf_90x, rf_180y, rf_90x):
        seq.add_block(rf_inv)
    seq.add_block(gz_spoil)
    seq.add_block(pp.make_delay(delay_TI))
    seq.add_block(rf, gz)
    seq.add_block(gx_pre, gy_pre, gz_reph)
    for line in range(n_phase):
        seq.add_block(gx if line % 2 == 0 else gx_back, adc)
        if line < n_phase - 1:
            seq.add_block(gy_blip)

    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "epi_ir")
    return seq


def main(filename: str = "epi_ir.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = epi_ir()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

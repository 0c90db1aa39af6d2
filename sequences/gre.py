"""Spoiled gradient echo (FLASH) in the steady state.

One line of k-space a TR. The phase of the pulses grows quadratically (RF spoiling, Zur, Wood and
Neuringer, Magn Reson Med 21:251, 1991), a gradient along z spoils what is left of the transverse
magnetisation, and pulses without ADC lead into the steady state. This is a plain PyPulseq script:
run it and it writes ``gre.seq``.
"""

import numpy as np
import pypulseq as pp


def gre(
    flip_angle: float = np.deg2rad(15),
    TE: float = 5e-3,
    TR: float = 100e-3,
    n_dummy: int = 20,
    fov: float = 0.224,
    n_read: int = 64,
    n_phase: int = 64,
    slice_thickness: float = 5e-3,
    sampling_time: float = 3.2e-3,
    lines: np.ndarray | None = None,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_angle
        Flip angle of every pulse (in radians).
    TE, TR
        Echo time, and time from pulse to pulse (in seconds).
    n_dummy
        Number of pulses before the first line is measured.
    fov
        Field of view in both in-plane directions (in metres).
    n_read, n_phase
        Number of samples in a line, and number of lines.
    slice_thickness
        Thickness of the slice (in metres).
    sampling_time
        Duration of the sampling of one line (in seconds).
    lines
        Where in k-space each line lies, in steps of 1 / fov, instead of all ``n_phase``.
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

    rf, gz, gz_reph = pp.make_sinc_pulse(
        flip_angle=flip_angle,
        duration=2e-3,
        slice_thickness=slice_thickness,
        apodization=0.5,
        time_bw_product=4,
        delay=system.rf_dead_time,
        system=system,
        return_gz=True,
        use="excitation",
    )

    # Readout: sample n_read // 2 is taken at the echo, at the centre of k-space
    dwell = sampling_time / n_read
    gx = pp.make_trapezoid(
        channel="x",
        flat_area=(n_read + 1) * delta_k,
        flat_time=sampling_time + dwell,
        system=system,
    )
    adc = pp.make_adc(num_samples=n_read, dwell=dwell, delay=gx.rise_time, system=system)
    pre_time = 1e-3
    gx_pre = pp.make_trapezoid(channel="x", area=-gx.area / 2, duration=pre_time, system=system)
    gz_reph = pp.make_trapezoid(channel="z", area=gz_reph.area, duration=pre_time, system=system)
    gz_spoil = pp.make_trapezoid(channel="z", area=4 / slice_thickness, system=system)

    def phase_encoding(line):
        return pp.make_trapezoid(channel="y", area=line * delta_k, duration=pre_time, system=system)

    # Timing
    def delay(time):
        time = round(time / system.block_duration_raster) * system.block_duration_raster
        if time < 0:
            raise ValueError(f"TE = {TE} s or TR = {TR} s is too short for the events in it")
        return pp.make_delay(time)

    after_rf = pp.calc_duration(rf, gz) - rf.delay - pp.calc_rf_center(rf)[0]
    half_read = pp.calc_duration(gx) / 2
    wait_TE = delay(TE - after_rf - pre_time - half_read)
    events = pp.calc_duration(rf, gz) + pre_time + 2 * half_read
    events += pp.calc_duration(gz_spoil, phase_encoding(0))
    wait_TR = delay(TR - events - wait_TE.delay)

    # Put the sequence together
    if lines is None:
        lines = range(-(n_phase // 2), n_phase - n_phase // 2)
    for number, line in enumerate([0] * n_dummy + list(lines)):
        # 117 degrees more from pulse to pulse
        rf.phase_offset = np.deg2rad(117) * number * (number + 1) / 2 % (2 * np.pi)
        adc.phase_offset = rf.phase_offset
        seq.add_block(rf, gz)
        seq.add_block(gx_pre, phase_encoding(line), gz_reph)
        seq.add_block(wait_TE)
        if number < n_dummy:
            seq.add_block(gx)
        else:
            seq.add_block(gx, adc)
        seq.add_block(phase_encoding(-line), gz_spoil)
        seq.add_block(wait_TR)

    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "gre")
    return seq


def main(filename: str = "gre.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = gre()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

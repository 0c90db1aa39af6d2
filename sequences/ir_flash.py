"""Inversion-recovery single-shot FLASH with a flip angle of its own for every pulse.

An inversion, a delay, and a train of spoiled gradient echoes, one line of k-space each, in
ascending order. The inversion is a composite pulse, 90x 180y 90x (Levitt and Freeman, J Magn
Reson 33:473, 1979). The phase of the pulses grows quadratically (RF spoiling). This is a plain
PyPulseq script: run it and it writes ``ir_flash.seq``.
"""

import numpy as np
import pypulseq as pp

FLIP_ANGLES = np.full(64, np.deg2rad(16))


def ir_flash(
    flip_angles: np.ndarray = FLIP_ANGLES,
    TI: float = 1.1,
    TR: float = 6e-3,
    fov: float = 0.224,
    n_read: int = 64,
    slice_thickness: float = 5e-3,
    sampling_time: float = 1.28e-3,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_angles
        Flip angles of the train, one for each line of k-space (in radians).
    TI
        Inversion time, from the centre of the inversion to the centre of that pulse whose line
        passes the centre of k-space (in seconds). It is played on the block raster.
    TR
        Time from pulse to pulse in the train (in seconds).
    fov
        Field of view in both in-plane directions (in metres).
    n_read
        Number of samples in a line.
    slice_thickness
        Thickness of the slice (in metres).
    sampling_time
        Duration of the sampling of one line (in seconds).
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
    n_phase = len(flip_angles)
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
    gz_crush = pp.make_trapezoid(channel="z", area=10 / slice_thickness, system=system)

    # Excitation; the slice gradient does not depend on the flip angle
    def slice_pulse(flip_angle):
        return pp.make_sinc_pulse(
            flip_angle=flip_angle,
            duration=1e-3,
            slice_thickness=slice_thickness,
            apodization=0.5,
            time_bw_product=2,
            delay=system.rf_dead_time,
            system=system,
            return_gz=True,
            use="excitation",
        )

    rf, gz, gz_reph = slice_pulse(np.pi / 2)

    # Readout: sample n_read // 2 is taken at the echo, at the centre of k-space
    dwell = sampling_time / n_read
    gx = pp.make_trapezoid(
        channel="x",
        flat_area=(n_read + 1) * delta_k,
        flat_time=sampling_time + dwell,
        system=system,
    )
    adc = pp.make_adc(num_samples=n_read, dwell=dwell, delay=gx.rise_time, system=system)
    pre_time = 0.6e-3
    gx_pre = pp.make_trapezoid(channel="x", area=-gx.area / 2, duration=pre_time, system=system)
    gz_reph = pp.make_trapezoid(channel="z", area=gz_reph.area, duration=pre_time, system=system)
    gz_spoil = pp.make_trapezoid(channel="z", area=4 / slice_thickness, system=system)

    def phase_encoding(line):
        return pp.make_trapezoid(channel="y", area=line * delta_k, duration=pre_time, system=system)

    # Timing
    def delay(time):
        time = round(time / system.block_duration_raster) * system.block_duration_raster
        if time < 0:
            raise ValueError(f"TI = {TI} s or TR = {TR} s is too short for the events in it")
        return pp.make_delay(time)

    events = pp.calc_duration(rf, gz) + pre_time + pp.calc_duration(gx)
    wait_TR = delay(TR - events - pp.calc_duration(gz_spoil, phase_encoding(0)))
    after_inversion = pp.calc_duration(rf_180y) - rf_180y.delay - pp.calc_rf_center(rf_180y)[0]
    after_inversion += pp.calc_duration(rf_90x) + pp.calc_duration(gz_crush)
    before_line = n_phase // 2 * TR + rf.delay + pp.calc_rf_center(rf)[0]
    wait_TI = delay(TI - after_inversion - before_line)

    # Put the sequence together
    for rf_inv in (rf_90x, rf_180y, rf_90x):
        seq.add_block(rf_inv)
    seq.add_block(gz_crush)
    seq.add_block(wait_TI)
    for number in range(n_phase):
        line = number - n_phase // 2
        rf, gz, _ = slice_pulse(flip_angles[number])
        # 117 degrees more from pulse to pulse
        rf.phase_offset = np.deg2rad(117) * number * (number + 1) / 2 % (2 * np.pi)
        adc.phase_offset = rf.phase_offset
        seq.add_block(rf, gz)
        seq.add_block(gx_pre, phase_encoding(line), gz_reph)
        seq.add_block(gx, adc)
        seq.add_block(phase_encoding(-line), gz_spoil)
        seq.add_block(wait_TR)

    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "ir_flash")
    return seq


def main(filename: str = "ir_flash.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = ir_flash()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

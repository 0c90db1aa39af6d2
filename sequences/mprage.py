"""Magnetization-prepared rapid gradient echo (MPRAGE) of a volume.

An inversion, a delay, and a train of spoiled gradient echoes that reads one plane of k-space: all
partitions of one line, from one edge of k-space to the other. Then the magnetisation recovers until
the next inversion (Mugler and Brookeman, Magn Reson Med 15:152, 1990, doi:10.1002/mrm.1910150117).
The phase of the pulses grows quadratically (RF spoiling). This is a plain PyPulseq script: run it
and it writes ``mprage.seq``.
"""

import numpy as np
import pypulseq as pp

# Area of the crushers after inversions and trains (in 1/m): so strong that diffusion helps
CRUSH = 5000


def mprage(
    TI: float = 0.9,
    flip_angle: float = np.deg2rad(9),
    recovery: float = 0.6,
    TR: float = 7e-3,
    n_dummy: int = 2,
    fov: tuple[float, float, float] = (0.224, 0.224, 0.128),
    matrix: tuple[int, int, int] = (32, 32, 16),
    sampling_time: float = 2.56e-3,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    TI
        Inversion time, from the centre of the inversion to that pulse of the train whose echo
        passes the centre of k-space (in seconds).
    flip_angle
        Flip angle of every pulse of the trains (in radians).
    recovery
        Time from the end of a train to the next inversion (in seconds).
    TR
        Time from pulse to pulse in a train (in seconds).
    n_dummy
        Number of trains before the first one that is measured.
    fov
        Field of view in x, y and z (in metres).
    matrix
        Number of samples in a line, of lines, and of partitions; these are the pulses of a train.
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
    n_read, n_line, n_partition = matrix
    delta_kx, delta_ky, delta_kz = (1 / length for length in fov)

    # Nothing is selected: the inversion is composite, 90x 180y 90x (Levitt and Freeman, J Magn
    # Reson 33:473, 1979, doi:10.1016/0022-2364(79)90265-8)
    def hard_pulse(flip_angle, duration, phase, use):
        return pp.make_block_pulse(
            flip_angle=flip_angle,
            duration=duration,
            phase_offset=phase,
            delay=system.rf_dead_time,
            system=system,
            use=use,
        )

    rf_90x = hard_pulse(np.pi / 2, 0.5e-3, 0, "inversion")
    rf_180y = hard_pulse(np.pi, 1e-3, np.pi / 2, "inversion")
    rf = hard_pulse(flip_angle, 0.2e-3, 0, "excitation")
    gz_crush = pp.make_trapezoid(channel="z", area=CRUSH, system=system)

    # Readout: sample n_read // 2 is taken at the echo, at the centre of k-space
    dwell = sampling_time / n_read
    gx = pp.make_trapezoid(
        channel="x",
        flat_area=(n_read + 1) * delta_kx,
        flat_time=sampling_time + dwell,
        system=system,
    )
    adc = pp.make_adc(num_samples=n_read, dwell=dwell, delay=gx.rise_time, system=system)
    pre_time = 0.8e-3
    gx_pre = pp.make_trapezoid(channel="x", area=-gx.area / 2, duration=pre_time, system=system)
    gx_spoil = pp.make_trapezoid(channel="x", area=2 * n_read * delta_kx, system=system)

    def encoding(channel, step):
        return pp.make_trapezoid(channel=channel, area=step, duration=pre_time, system=system)

    # Timing
    def delay(time):
        time = round(time / system.block_duration_raster) * system.block_duration_raster
        if time < 0:
            raise ValueError(f"TI = {TI} s or TR = {TR} s is too short for the events in it")
        return pp.make_delay(time)

    events = pp.calc_duration(rf) + pre_time + pp.calc_duration(gx)
    wait_TR = delay(TR - events - pp.calc_duration(gx_spoil, encoding("y", 0)))
    after_inversion = pp.calc_duration(rf_180y) - rf_180y.delay - pp.calc_rf_center(rf_180y)[0]
    after_inversion += pp.calc_duration(rf_90x) + pp.calc_duration(gz_crush)
    before_centre = n_partition // 2 * TR + rf.delay + pp.calc_rf_center(rf)[0]
    wait_TI = delay(TI - after_inversion - before_centre)
    wait_recovery = delay(recovery)

    # Put the sequence together
    pulse = 0
    for train in range(-n_dummy, n_line):
        for rf_inversion in (rf_90x, rf_180y, rf_90x):
            seq.add_block(rf_inversion)
        seq.add_block(gz_crush)
        seq.add_block(wait_TI)
        line = max(train, 0) - n_line // 2
        for number in range(n_partition):
            partition = number - n_partition // 2
            # 117 degrees more from pulse to pulse
            rf.phase_offset = np.deg2rad(117) * pulse * (pulse + 1) / 2 % (2 * np.pi)
            adc.phase_offset = rf.phase_offset
            pulse += 1
            ky, kz = encoding("y", line * delta_ky), encoding("z", partition * delta_kz)
            seq.add_block(rf)
            seq.add_block(gx_pre, ky, kz)
            if train < 0:
                seq.add_block(gx)
            else:
                seq.add_block(gx, adc)
            ky, kz = encoding("y", -line * delta_ky), encoding("z", -partition * delta_kz)
            seq.add_block(gx_spoil, ky, kz)
            seq.add_block(wait_TR)
        seq.add_block(gz_crush)
        seq.add_block(wait_recovery)

    seq.set_definition("FOV", list(fov))
    seq.set_definition("Name", "mprage")
    return seq


def main(filename: str = "mprage.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = mprage()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

"""Multi-shot turbo spin echo (TSE) with a flip angle of its own for every pulse.

One slice in a few shots, each an excitation and a train of refocusing pulses; a first shot
without ADC leads into the steady state. This is a plain PyPulseq script: run it and it
writes ``tse.seq``.
"""

import numpy as np
import pypulseq as pp

N_ECHO = 16
N_SHOT = 4

# (shots, pulses) in radians: a dummy shot, then the shots that are measured; in each shot
# the excitation, then the refocusing pulses
FLIP_ANGLES = np.tile([np.pi / 2] + [np.pi] * N_ECHO, (1 + N_SHOT, 1))


def tse(
    flip_angles: np.ndarray = FLIP_ANGLES,
    TE: float = 12e-3,
    TR: float = 2.0,
    fov: float = 0.224,
    n_read: int = 64,
    slice_thickness: float = 5e-3,
    sampling_time: float = 6.4e-3,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_angles
        Flip angles with shape (shots, 1 + echoes); the first shot is not measured, the first
        angle of each shot is its excitation (in radians).
    TE
        Echo spacing (in seconds).
    TR
        Time from shot to shot (in seconds).
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
        rf_ringdown_time=100e-6,
        rf_dead_time=100e-6,
        adc_dead_time=10e-6,
    )
    seq = pp.Sequence(system)
    n_shot, n_echo = flip_angles.shape[0] - 1, flip_angles.shape[1] - 1
    n_phase = n_shot * n_echo
    delta_k = 1 / fov

    # Pulses: excitation and refocusing 90 degrees apart in phase (CPMG). The slice gradients
    # do not depend on the flip angle.
    def slice_pulse(flip_angle, duration, phase, use):
        return pp.make_sinc_pulse(
            flip_angle=flip_angle,
            duration=duration,
            slice_thickness=slice_thickness,
            apodization=0.5,
            time_bw_product=4,
            phase_offset=phase,
            delay=system.rf_dead_time,
            system=system,
            return_gz=True,
            use=use,
        )

    rf_ex, gz_ex, gz_reph = slice_pulse(np.pi / 2, 2.5e-3, np.pi / 2, "excitation")
    rf_ref, gz_ref, _ = slice_pulse(np.pi, 2e-3, 0, "refocusing")

    # Readout: sample n_read // 2 is taken at the echo, at the centre of k-space
    dwell = sampling_time / n_read
    gx = pp.make_trapezoid(
        channel="x",
        flat_area=(n_read + 1) * delta_k,
        flat_time=sampling_time + dwell,
        system=system,
    )
    adc = pp.make_adc(num_samples=n_read, dwell=dwell, delay=gx.rise_time, system=system)
    gx_pre = pp.make_trapezoid(channel="x", area=gx.area / 2, duration=1.5e-3, system=system)

    # Crushers on both sides of every refocusing pulse; the very first also rephases the slice
    gz_crush = pp.make_trapezoid(
        channel="z", area=4 / slice_thickness, duration=1.2e-3, system=system
    )
    gz_first = pp.make_trapezoid(
        channel="z", area=gz_crush.area + gz_reph.area, duration=1.5e-3, system=system
    )
    gz_spoil = pp.make_trapezoid(channel="z", area=10 / slice_thickness, system=system)

    # Lines ascend over the echoes, so that each echo number owns one band of k-space
    lines = (np.arange(n_phase) - n_phase // 2).reshape(n_echo, n_shot)

    def phase_encoding(line):
        return pp.make_trapezoid(
            channel="y", area=line * delta_k, duration=pp.calc_duration(gz_crush), system=system
        )

    # Timing: blocks between the pulses last as long as the spin echo condition asks for
    def until(time, *events):
        """Delay that makes a block with these events last a given time."""
        time = round(time / system.block_duration_raster) * system.block_duration_raster
        if time < pp.calc_duration(*events):
            raise ValueError(f"TE = {TE} s or TR = {TR} s is too short for the events in it")
        return pp.make_delay(time)

    half_ex = rf_ex.delay + rf_ex.center
    half_ref = rf_ref.delay + rf_ref.center
    after_ex = pp.calc_duration(rf_ex, gz_ex) - half_ex
    after_ref = pp.calc_duration(rf_ref, gz_ref) - half_ref
    half_read = pp.calc_duration(gx) / 2
    wait_ex = until(TE / 2 - after_ex - half_ref, gx_pre, gz_first)
    wait_before_read = until(TE / 2 - after_ref - half_read, gz_crush)
    wait_after_read = until(TE / 2 - half_read - half_ref, gz_crush)
    train = (n_echo + 0.5) * TE - half_ref
    wait_TR = until(TR - train - half_ex, gz_spoil)

    # Put the sequence together
    for shot in range(1 + n_shot):
        rf_ex, gz_ex, _ = slice_pulse(flip_angles[shot, 0], 2.5e-3, np.pi / 2, "excitation")
        seq.add_block(rf_ex, gz_ex)
        seq.add_block(gx_pre, gz_first, wait_ex)
        for echo in range(n_echo):
            rf_ref, gz_ref, _ = slice_pulse(flip_angles[shot, 1 + echo], 2e-3, 0, "refocusing")
            is_dummy = shot == 0
            line = 0 if is_dummy else lines[echo, shot - 1]
            seq.add_block(rf_ref, gz_ref)
            seq.add_block(gz_crush, phase_encoding(line), wait_before_read)
            if is_dummy:
                seq.add_block(gx)
            else:
                seq.add_block(gx, adc)
            seq.add_block(gz_crush, phase_encoding(-line), wait_after_read)
        seq.add_block(gz_spoil, wait_TR)

    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "tse")
    return seq


def main(filename: str = "tse.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = tse()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

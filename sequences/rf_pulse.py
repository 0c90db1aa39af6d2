"""Slice profile of an RF pulse that is given by its samples.

The pulse is played under a gradient along y, and the profile that it excites is read out along y,
in one line. So it is done on a scanner to see a slice profile. This is a plain PyPulseq script:
run it and it writes ``rf_pulse.seq``.
"""

import numpy as np
import pypulseq as pp

N_SAMPLES = 64
DURATION = 3.2e-3
TIME_BANDWIDTH = 4


def windowed_sinc(flip_angle: float = np.pi / 2) -> np.ndarray:
    """Return (samples,) amplitudes of a Hann-windowed sinc pulse (in hertz)."""
    time = (np.arange(N_SAMPLES) + 0.5) / N_SAMPLES - 0.5
    shape = np.sinc(TIME_BANDWIDTH * time) * (0.5 + 0.5 * np.cos(2 * np.pi * time))
    return flip_angle / (2 * np.pi) * shape / (shape.sum() * DURATION / N_SAMPLES)


WINDOWED_SINC = windowed_sinc()


def rf_pulse(
    samples: np.ndarray = WINDOWED_SINC,
    slice_thickness: float = 6e-3,
    fov: float = 0.032,
    n_read: int = 128,
    sampling_time: float = 5.12e-3,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    samples
        Amplitudes of the pulse, constant for 50 µs each; negative ones have the opposite phase
        (in hertz).
    slice_thickness
        Thickness of the slice, as the time-bandwidth product of the windowed sinc means it
        (in metres).
    fov
        Field of view along y (in metres).
    n_read
        Number of samples of the profile.
    sampling_time
        Duration of the readout (in seconds).
    """
    system = pp.Opts(
        max_grad=32,
        grad_unit="mT/m",
        max_slew=130,
        slew_unit="T/m/s",
        rf_raster_time=10e-6,
        rf_ringdown_time=20e-6,
        rf_dead_time=100e-6,
        adc_dead_time=10e-6,
    )
    seq = pp.Sequence(system)

    # PyPulseq scales an arbitrary pulse to its flip angle, unless told not to
    rf = pp.make_arbitrary_rf(
        np.repeat(samples, round(DURATION / N_SAMPLES / system.rf_raster_time)),
        flip_angle=0,
        no_signal_scaling=True,
        center=DURATION / 2,
        delay=system.rf_dead_time,
        system=system,
        use="excitation",
    )
    g_slice = pp.make_trapezoid(
        channel="y",
        amplitude=TIME_BANDWIDTH / DURATION / slice_thickness,
        flat_time=DURATION + system.rf_ringdown_time,
        system=system,
    )
    g_slice.delay = rf.delay - g_slice.rise_time
    after_centre = DURATION / 2 + system.rf_ringdown_time + g_slice.fall_time / 2

    # Readout: sample n_read // 2 is taken at the centre of k-space
    dwell = sampling_time / n_read
    g_read = pp.make_trapezoid(
        channel="y",
        flat_area=(n_read + 1) / fov,
        flat_time=sampling_time + dwell,
        system=system,
    )
    adc = pp.make_adc(num_samples=n_read, dwell=dwell, delay=g_read.rise_time, system=system)
    g_between = pp.make_trapezoid(
        channel="y",
        area=-g_slice.amplitude * after_centre - g_read.area / 2,
        duration=2.5e-3,
        system=system,
    )

    seq.add_block(rf, g_slice)
    seq.add_block(g_between)
    seq.add_block(g_read, adc)

    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "rf_pulse")
    return seq


def main(filename: str = "rf_pulse.seq") -> None:
    """Create the sequence, check its timing and write it."""
    seq = rf_pulse()
    ok, errors = seq.check_timing()
    print("Timing check passed" if ok else "\n".join(map(str, errors)))
    seq.write(filename)


if __name__ == "__main__":
    main()

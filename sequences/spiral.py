"""Single shot along a spiral: an excitation, and a readout while k-space is gone through.

The course is any that begins in the centre, at rest, such as ``variable_density_spiral`` gives; it
can be bent by splines. This is a plain PyPulseq script: run it and it writes ``spiral.seq``.
"""

import cmath
import math

import numpy as np
import pypulseq as pp
from scipy.interpolate import BSpline

RASTER = 10e-6
"""Of the gradients, and of the samples (in seconds)."""
GAMMA = 42.576e6
"""Of protons (in Hz/T)."""
# Steps of the way in a step of the raster
_FINER = 16


def variable_density_spiral(
    fov: float = 0.224,
    pixels: int = 32,
    duration: float = 6.4e-3,
    density: float = 1.0,
    max_grad: float = 20e-3,
    max_slew: float = 50.0,
) -> np.ndarray:
    """Return a spiral that reaches the edge of k-space at the end, as fast as limits allow.

    Its radius grows with the power ``density`` of its angle (Kim, Adalsteinsson and Spielman, Magn
    Reson Med 50:214, 2003): 1 is the same distance of all turns, more is denser in the middle. The
    number of turns is what can be gone through in time.

    Parameters
    ----------
    fov, pixels
        Field of view (in metres), and pixels: what the edge of k-space is.
    duration
        Of the readout (in seconds).
    density
        The power.
    max_grad, max_slew
        Limits of the gradient vector (in T/m) and of its slew rate (in T/m/s).

    Returns
    -------
    ndarray
        (samples + 1, 2) positions in k-space (in 1/m) at the raster's times.
    """
    steps = round(duration / RASTER)
    edge = pixels / fov / 2
    fastest, sharpest = GAMMA * max_grad, GAMMA * max_slew

    def course(turns: float) -> list[complex]:
        """Go along edge * way**density * exp(i angle way), from rest, for all steps."""
        angle = 2 * math.pi * turns
        # Straight out of the centre, so slowly that the course may turn at once
        first = 0.3 * sharpest * RASTER**2
        way = (first / edge) ** (1 / density)
        pace = (
            0.4
            * sharpest
            * RASTER
            / abs(edge * way ** (density - 1) * complex(density, angle * way))
        )
        at = [0j, edge * way**density * cmath.exp(1j * angle * way)]
        while len(at) <= steps:
            for _ in range(_FINER):
                turn = edge * way**density * cmath.exp(1j * angle * way)
                rate = complex(density / way, angle)
                slope, bend = turn * rate, turn * (rate**2 - density / way**2)
                # As much along the course as the turn leaves of the slew rate
                along = (bend * slope.conjugate()).real * pace**2 / abs(slope) ** 2
                across = abs(bend) ** 2 * pace**4 - sharpest**2
                left = max(0.0, along**2 - across / abs(slope) ** 2)
                faster = pace + (math.sqrt(left) - along) * RASTER / _FINER
                pace = min(faster, fastest / abs(slope))
                way += pace * RASTER / _FINER
            at.append(edge * way**density * cmath.exp(1j * angle * way))
        return at

    few, many = 0.0, float(pixels)
    for _ in range(20):
        turns = (few + many) / 2
        few, many = (turns, many) if abs(course(turns)[-1]) > edge else (few, turns)
    found = np.array(course(few))
    return np.stack([found.real, found.imag], axis=1)


def bending(steps: int, count: int) -> np.ndarray:
    """Return ``count`` quadratic B-splines (steps + 1, count), all at rest at the beginning."""
    # The first two are left out: they have a value or a slope there
    knots = np.concatenate([np.zeros(2), np.linspace(0, 1, count + 1), np.ones(2)])
    places = np.linspace(0, 1, steps + 1)
    return BSpline.design_matrix(places, knots, 2).toarray()[:, 2:]


def spiral(
    bends: np.ndarray | None = None,
    course: np.ndarray | None = None,
    angle: float = 0.0,
    fov: float = 0.224,
    slice_thickness: float = 5e-3,
    max_grad: float = 20.0,
    max_slew: float = 50.0,
) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    bends
        Coefficients (2, splines) of splines that the course along x and y is bent by (in 1/m).
    course
        Positions (samples + 1, 2) in k-space (in 1/m); by default a spiral.
    angle
        By which the course is turned (in radians).
    fov
        Field of view in both in-plane directions (in metres).
    slice_thickness
        Thickness of the slice (in metres).
    max_grad, max_slew
        Limits of each gradient (in mT/m and in T/m/s).
    """
    system = pp.Opts(
        max_grad=max_grad,
        grad_unit="mT/m",
        max_slew=max_slew,
        slew_unit="T/m/s",
        rf_ringdown_time=20e-6,
        rf_dead_time=100e-6,
        adc_dead_time=10e-6,
    )
    seq = pp.Sequence(system)
    rf, gz, gz_reph = pp.make_sinc_pulse(
        flip_angle=math.pi / 2,
        duration=2e-3,
        slice_thickness=slice_thickness,
        apodization=0.5,
        time_bw_product=4,
        delay=system.rf_dead_time,
        system=system,
        return_gz=True,
        use="excitation",
    )
    seq.add_block(rf, gz)
    seq.add_block(gz_reph)

    course = variable_density_spiral(fov) if course is None else course
    samples = len(course) - 1
    x, y = course[:, 0], course[:, 1]
    if bends is not None:
        splines = bending(samples, bends.shape[1])
        x, y = x + splines @ bends[0], y + splines @ bends[1]
    x, y = (
        np.cos(angle) * x - np.sin(angle) * y,
        np.sin(angle) * x + np.cos(angle) * y,
    )
    # What is left of the gradient at the end goes down to zero
    down = math.ceil(system.max_grad / (system.max_slew * RASTER))
    left = np.linspace(1, 0, down + 1)[1:]
    gradients = []
    for channel, position in (("x", x), ("y", y)):
        amplitude = np.diff(position) / RASTER
        waveform = np.concatenate([amplitude, amplitude[-1] * left])
        gradients.append(
            pp.make_arbitrary_grad(
                channel=channel, waveform=waveform, first=0.0, last=0.0, system=system
            )
        )
    adc = pp.make_adc(num_samples=samples, dwell=RASTER, delay=system.adc_dead_time, system=system)
    seq.add_block(*gradients, adc)
    seq.set_definition("FOV", [fov, fov, slice_thickness])
    seq.set_definition("Name", "spiral")
    return seq


if __name__ == "__main__":
    spiral().write("spiral.seq")

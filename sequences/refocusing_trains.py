"""Trains of refocusing angles from the literature, for the turbo spin echo ``tse``.

Each is a family over one angle and returns the flip angles (shots, 1 + echoes) of all shots, the
one that is not measured included, with an excitation of 90 degrees.
"""

import numpy as np

# As in tse.py, with the shot that is not measured
N_ECHO, N_SHOT = 16, 5


def constant(refocusing: float) -> np.ndarray:
    """Refocus by the same angle throughout (in degrees)."""
    return _all_shots(np.full(N_ECHO, refocusing))


def stabilized(refocusing: float) -> np.ndarray:
    """Refocus by the same angle (in degrees), the first pulse half-way between it and 180 degrees.

    That leads into the static pseudo-steady state: Hennig and Scheffler, MRM 44:983 (2000).
    """
    train = np.full(N_ECHO, refocusing)
    train[0] = 90 + refocusing / 2
    return _all_shots(train)


def traps(lowest: float) -> np.ndarray:
    """Refocus by low angles, but by 180 degrees at the centre of k-space (in degrees).

    Smooth transitions between pseudo-steady states: Hennig, Weigel and Scheffler, MRM 49:527
    (2003), doi:10.1002/mrm.10391. The centre of k-space is measured by echo 9 of 16.
    """
    echo = np.arange(N_ECHO)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip((echo - 1) / (N_ECHO // 2 - 1), 0, 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((echo - N_ECHO // 2) / (N_ECHO // 2 - 1), 0, 1))
    train = lowest + (180 - lowest) * np.minimum(rise, fall)
    train[0] = 90 + lowest / 2
    return _all_shots(train)


def _all_shots(refocusing: np.ndarray) -> np.ndarray:
    shot = np.deg2rad(np.concatenate([[90.0], refocusing]))
    return np.tile(shot, (N_SHOT, 1))

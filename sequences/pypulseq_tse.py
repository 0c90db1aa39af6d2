"""PyPulseq's own example script ``write_tse.py`` as a function of two numbers in it.

The script is used as its authors wrote it: ``make gallery`` fetches it from the package index, in
the wheel of PyPulseq 1.4.2, the last one that has example scripts in it. Its ``main`` takes no
parameters; what one would want to vary are constants at its beginning. `pulseq_zero.script` gives
them other values, on the way from the file's text to Python.
"""

from pathlib import Path

import pypulseq as pp

import pulseq_zero

SCRIPT = Path(".cache/pypulseq_examples/pypulseq/seq_examples/scripts/write_tse.py")
WRITE_TSE = pulseq_zero.script(SCRIPT, ("flip_ex", "rf_flip")) if SCRIPT.is_file() else None


def pypulseq_tse(flip_ex: float = 1.5707963267948966, rf_flip: float = 180.0) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_ex
        Flip angle of the excitation (in radians).
    rf_flip
        Flip angle of all refocusing pulses (in degrees, as in the script).
    """
    if WRITE_TSE is None:
        raise FileNotFoundError(
            f"{SCRIPT}; `make gallery` fetches it from the package index, in a wheel of PyPulseq"
        )
    return WRITE_TSE(plot=False, write_seq=False, flip_ex=flip_ex, rf_flip=[rf_flip])

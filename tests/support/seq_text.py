"""A gradient echo as Pulseq files of all versions, written out from the specification.

A block pulse of 1250 Hz and 0.2 ms, a quarter of a turn; a gradient of -90/m and one that is
sampled 8 times, from -75/m in steps of 20/m, the first time 1.3 ms after the pulse's middle.
"""

from __future__ import annotations

import hashlib

KX = [-75.0 + 20.0 * n for n in range(8)]
FIRST_SAMPLE, DWELL = 1.3e-3, 2e-4

# Ones and zeros, as differences with run lengths: a value, the same again, and how many more
_SHAPES = """
[SHAPES]

shape_id 1
num_samples 200
1
0
0
197

shape_id 2
num_samples 200
0
0
198
"""

_TRAPS = """
[TRAP]
1 -100000 100 800 100 0
2 100000 100 1600 100 0
"""

_RASTERS = """AdcRasterTime 1e-07
BlockDurationRaster 1e-05
GradientRasterTime 1e-05
RadiofrequencyRasterTime 1e-06
"""


def text_of(version: str, extensions: str = "", block: int = 0, frequency: float = 0.0) -> str:
    """Write the file.

    Parameters
    ----------
    version
        Such as "1.3.0".
    extensions
        Sections of extensions.
    block
        Number in the list of extensions that the two blocks with gradients refer to.
    frequency
        Frequency offset of the pulse [Hz].
    """
    major, minor, revision = version.split(".")
    head = f"# A Pulseq file\n\n[VERSION]\nmajor {major}\nminor {minor}\nrevision {revision}\n"
    if version < "1.4":
        # The first column is a delay; extensions came with 1.3
        rows = ["0 1 0 0 0 0", "0 0 1 0 0 0", "0 0 2 0 0 1", "1 0 0 0 0 0"]
        rows = [f"{row} 0" if version >= "1.3" else row for row in rows]
        rasters, pulse, adc = "", f"1 1250 1 2 100 {frequency} 0", "1 8 200000 100 0 0"
        delays = "\n[DELAYS]\n1 500000\n"
    else:
        # The first column is the duration in rasters
        rows = ["30 1 0 0 0 0 0", f"100 0 1 0 0 0 {block}", f"180 0 2 0 0 1 {block}"]
        rows.append("50000 0 0 0 0 0 0")
        rasters, delays = _RASTERS, ""
        pulse, adc = f"1 1250 1 2 0 100 {frequency} 0", "1 8 200000 100 0 0"
        if version >= "1.5":
            pulse = f"1 1250 1 2 0 100 100 0 0 {frequency} 0 e"
            adc = "1 8 200000 100 0 0 0 0 0"
    blocks = "\n".join(f"{number} {row}" for number, row in enumerate(rows, 1))
    return (
        f"{head}\n[DEFINITIONS]\n{rasters}FOV 0.1 0.1 0.005\nName echo\n"
        f"\n# Format of blocks:\n[BLOCKS]\n{blocks}\n"
        f"\n[RF]\n{pulse}\n{_TRAPS}\n[ADC]\n{adc}\n{delays}{extensions}{_SHAPES}"
    )


def signed(text: str, *, of: str | None = None) -> str:
    """Sign a file, by the MD5 sum of its text or of another."""
    digest = hashlib.md5((text if of is None else of).encode()).hexdigest()
    return (
        f"{text}\n[SIGNATURE]\n# MD5 of all before, without the newline\nType md5\nHash {digest}\n"
    )

"""Write a sequence with PyPulseq alone, as its author would: the judge of every export.

Usage: plain_pypulseq.py REFERENCE GIVEN.json OUTPUT.seq

REFERENCE is FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION; the JSON has the function's parameters and
its constant arguments.
"""

import importlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
from later import UNUSED, later

with later(*UNUSED):
    import pypulseq  # noqa: F401


def find(reference):
    source, _, name = reference.rpartition(":")
    if source.endswith(".py"):
        sys.path.insert(0, str(Path(source).parent))
        return runpy.run_path(source, run_name="sequence")[name]
    sys.path.insert(0, str(Path.cwd()))
    return getattr(importlib.import_module(source), name)


if __name__ == "__main__":
    reference, given, output = sys.argv[1:]
    function = find(reference)
    given = json.loads(Path(given).read_text(encoding="utf-8"))
    parameters = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in given["parameters"].items()
    }
    sequence = function(**parameters, **given["arguments"])
    # Outside of tracing, `import pulseq_zero as pp` hands on PyPulseq's names
    if "pulseq_zero.tracing" in sys.modules:
        sys.exit("this must be PyPulseq alone, but pulseq_zero.tracing was imported")
    sequence.write(output)

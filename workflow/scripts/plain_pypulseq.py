"""Write a sequence with PyPulseq alone, as its author would: the judge of every export.

Usage: plain_pypulseq.py FILE.py:FUNCTION ARGUMENTS.json OUTPUT.seq
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    reference, arguments, output = sys.argv[1:]
    file, _, name = reference.rpartition(":")
    sys.path.insert(0, str(Path(file).parent))
    function = runpy.run_path(file, run_name="sequence")[name]
    given = json.loads(arguments)
    sequence = function(**{k: np.array(v) if isinstance(v, list) else v for k, v in given.items()})
    # A script's own numbers may be given by pulseq_zero.script, which needs no more than files
    if "pulseq_zero.tracing" in sys.modules:
        sys.exit("this must be PyPulseq alone, but pulseq_zero.tracing was imported")
    sequence.write(output)

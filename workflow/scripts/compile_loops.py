"""Compile the loops of simulation and judge once: numba keeps them, for all jobs and tests.

And the library, as pip does what it installs: where PYTHONDONTWRITEBYTECODE is set, each job would.
"""

import compileall
import shutil
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "sequences"))
import epi_ir
import tse

import pulseq_zero
from pulseq_zero.experiments.validation import judged_phantom
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.importing.loops import BESIDE
from pulseq_zero.judge import converged_isochromats, read_course
from pulseq_zero.phantom import build_phantom

# Moments change with times, and not with flip angles: that takes other loops
STARTS = {
    epi_ir.epi_ir: {"TI": torch.tensor(1.0)},
    tse.tse: {"flip_angles": torch.tensor(tse.FLIP_ANGLES)},
}


def main():
    compileall.compile_dir(Path(pulseq_zero.__file__).parent, quiet=1)
    for version in BESIDE.glob("loops-*"):
        shutil.rmtree(version)
    phantom = build_phantom({"source": "icbm152"})
    for function, start in STARTS.items():
        for pulses in ("instantaneous", "played"):
            parameters = {name: value.requires_grad_() for name, value in start.items()}
            model = ImagingModel(function, phantom, pulses=pulses)
            model(parameters).image.abs().sum().backward()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "judged.seq")
            function().write(str(file))
            for physics in ("instantaneous", "full"):
                course = read_course(file, physics)
                converged_isochromats(course, judged_phantom(phantom), spins=1, largest=1)


if __name__ == "__main__":
    main()

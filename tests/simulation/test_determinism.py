"""The same sequence gives the same signal, bit for bit, in every process."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]

PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from pulseq_zero.simulation import Simulator
from support.sequences import gradient_echo, inversion_epi, phantom, turbo_spin_echo
for make in (turbo_spin_echo, inversion_epi, gradient_echo):
    repetitions = make()
    repetitions.pulse_angle.requires_grad_()
    result = Simulator(phantom(16, shape="box"), 1e-4)(repetitions)
    result.signal.abs().square().sum().backward()
    values = (result.signal.detach().numpy(), repetitions.pulse_angle.grad.numpy())
    print(result.states, *(hashlib.sha256(part.tobytes()).hexdigest() for part in values))
"""


def test_signals_and_gradients_repeat_bit_for_bit():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(HERE)], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(3)
    ]
    assert len(outputs[0].splitlines()) == 3
    assert len(set(outputs)) == 1

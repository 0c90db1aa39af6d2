"""Compiled loops that propagate states on the CPU, in float32: the backend beside torch's.

Imports `pulseq_zero.simulation.pdg` and `pulseq_zero.simulation.kernel_math`.
"""

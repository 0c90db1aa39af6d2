"""PyPulseq run on traced numbers: a twin of it, its sequences, and what scripts read back of them.

Imports `pulseq_zero.tracing.tape`, `pulseq_zero.tracing.numpy` and errors.
"""

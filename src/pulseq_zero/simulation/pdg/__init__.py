"""Phase distribution graphs: the states of a sequence, and their way through it, in torch.

Imports `pulseq_zero.conversion.repetitions`, `pulseq_zero.simulation.kernel_math` and errors.
"""

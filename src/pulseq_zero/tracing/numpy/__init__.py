"""Numbers and arrays that remember, and what NumPy's, Python's and PyTorch's functions do to them.

Imports `pulseq_zero.tracing.tape` and errors. Modules that handle functions enter themselves by
being imported, which is done here.
"""

from pulseq_zero.tracing.numpy import choosing, computing, tensors, ufuncs

__all__ = ["choosing", "computing", "tensors", "ufuncs"]

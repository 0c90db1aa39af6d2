"""The command line, experiments without a workflow system, and how notebooks show results.

Imports everything; nothing imports it.
"""

from pulseq_zero.cli.commands import main

__all__ = ["main"]

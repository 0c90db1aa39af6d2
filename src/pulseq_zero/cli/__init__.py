"""The command line: experiments without a workflow system. Nothing else imports it."""

from pulseq_zero.cli.commands import main

__all__ = ["main"]

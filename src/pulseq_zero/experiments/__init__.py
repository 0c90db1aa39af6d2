"""Experiments from files: what they say, the runs that follow from them, their steps and results.

Imports everything but the command line, and nothing of a workflow system.
"""

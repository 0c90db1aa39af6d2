"""Optimization of a sequence's parameters: problem, descent, losses, and limits.

Imports tracing, conversion, phantom, simulation, imaging, files and errors, and nothing of
experiments or figures.
"""

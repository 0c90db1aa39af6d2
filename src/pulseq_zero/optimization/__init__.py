"""Optimization of a sequence's parameters: problem, descent, losses, and limits.

Imports files, tracing, conversion, phantom, simulation and imaging, and nothing of experiments
or figures.
"""

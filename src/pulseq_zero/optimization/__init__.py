"""Optimization of a sequence's parameters: problem, descent, losses, and limits.

Imports tracing, conversion, phantom, simulation and imaging, and nothing of experiments.
"""

"""Figures: data in, figure out.

Imports conversion, phantom, files and errors, and nothing of experiments.
"""

"""Experiments from files: what they say, the runs that follow from them, and where results lie."""

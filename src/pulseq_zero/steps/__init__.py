"""The steps of an experiment, files in and files out: one module a step.

The pipeline's scripts and the command line both take these, so that their results are the same.
"""

"""The steps of an experiment, files in and files out: one module a step.

Each has a function ``run`` that names its files and settings, and says in ``SECTIONS`` which
sections of an experiment it uses: a change of others does not concern it. Pipeline and command line
take the same steps, so that their results are the same.
"""

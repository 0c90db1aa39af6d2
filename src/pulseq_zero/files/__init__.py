"""Files in and out: results, configs, sequences, user's functions, other programs' formats, logs.

Imports nothing of this package but its errors.
"""

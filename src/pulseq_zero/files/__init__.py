"""What files hold: results, configs, sequences, user's functions, other programs' formats, logs.

Imports nothing of this library but its errors.
"""

"""What importing the library does: names wait until they are used, compiled loops are kept.

It imports nothing of the library.
"""

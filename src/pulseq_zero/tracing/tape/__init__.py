"""The tape: operations on numbers, programs that replay them, and the gradients that get lost.

Imports errors, and neither PyPulseq nor the traced numbers that write on the tape.
"""

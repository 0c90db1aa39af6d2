"""A module of a script's own, which uses NumPy, math and PyPulseq on what it is given."""

import math
from math import sqrt

import numpy as np
from numpy import array
from pypulseq.make_trapezoid import make_trapezoid


def arithmetic(x):
    return sqrt(x) + math.sin(x) + np.sum(array([x, 2 * x])) + float(x)


def trapezoid(area):
    return make_trapezoid("x", area=area, duration=2e-3)


class Adder:
    def __init__(self, term):
        self.term = term

    def add(self, x):
        return math.sqrt(x) + self.term

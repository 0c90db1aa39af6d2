"""A module that scripts import only inside of a function."""

import numpy as np
import pypulseq as pp


def table(x):
    return np.array([x, 1.0])


def delay(x):
    return pp.make_delay(x)

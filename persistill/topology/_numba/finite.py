"""Compiled kernel that looks for NaN and infinities, in one pass and without temporary arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel


@kernel
def all_finite(signals: NDArray[Any]) -> bool:
    """Whether all of (n, N) floating-point numbers are finite."""
    for signal in signals:
        bad = 0
        for value in signal:
            bad += not np.isfinite(value)
        if bad:
            return False
    return True

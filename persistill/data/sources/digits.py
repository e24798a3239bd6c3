"""The handwritten digits that come with scikit-learn."""

import numpy as np

from persistill.data.sources.arrays import ArrayRows
from persistill.data.sources.base import Source


def read_digits() -> Source:
    """1,797 handwritten digits: 8 x 8 gray images of 17 levels, scaled to 0..255."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  slow to import, and only this source needs it

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Source(tuple("0123456789"), {"train": ArrayRows(pixels, digits.target.astype(np.int64), "digit {}")})

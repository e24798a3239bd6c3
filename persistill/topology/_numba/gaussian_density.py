"""Compiled kernel for persistence images by evaluation at points, in float32.

A Gaussian over the plane is a product of two over its axes, so every point needs one number for each row and one for
each column of the persistence image, which is a product of two matrices. Most of the time would go into exponentials:
here they are written out in operations that the compiler turns into vector instructions, 16 numbers at a time. All
that is computed on the way stays in the cache, since a diagram's points are taken a few hundred at a time.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel

_CHUNK = 256  # points that are rendered together; a multiple of 16
# Below 2**-62 a product of two could not be held as a normal number, and arithmetic with others is slow.
_LOWEST = np.float32(-62)
# exp(-x^2 / 2) = 2^-(_SCALE * x)^2
_SCALE = np.sqrt(0.5 * np.log2(np.e))


def _coefficients() -> tuple[np.float32, ...]:
    """Of the polynomial that is closest to 2^x on [-1/2, 1/2]: relative error 7e-8, the rounding included."""
    nodes = 0.5 * np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    fit = np.polynomial.Polynomial.fit(nodes, 2.0**nodes, 6, domain=(-0.5, 0.5), window=(-0.5, 0.5))
    return tuple(np.float32(c) for c in fit.coef)


_C0, _C1, _C2, _C3, _C4, _C5, _C6 = _coefficients()
# Sums may be taken in any order, which lets them be vectors; nothing here is infinite.
_fast = functools.partial(kernel, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
# Inlined: as functions of their own, they would be other machine code in the process that compiles them than in
# those that read what it kept, with sums in another order.
_inlined = functools.partial(_fast, forceinline=True)


@_inlined
def powers_of_two(exponents: NDArray[np.float32], scratch: NDArray[np.int32], out: NDArray[np.float32]) -> None:
    """2 to the power of each of (n,) exponents in [-126, 126], to float32's precision."""
    scales = scratch.view(np.float32)
    for i in range(len(exponents)):
        whole = np.rint(exponents[i])
        x = exponents[i] - whole
        out[i] = _C0 + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
        # A float32 with this exponent and no other bits set is 2^whole.
        scratch[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for i in range(len(exponents)):
        out[i] *= scales[i]


@_inlined
def gaussians(
    centers: NDArray[np.float32],
    coordinates: NDArray[np.float32],
    bandwidth: float,
    exponents: NDArray[np.float32],
    scratch: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Gaussians of height 1 around (m,) centers at (n,) coordinates: (n, m), flat, as are the buffers of that size."""
    scale = np.float32(_SCALE / bandwidth)
    m = len(centers)
    for j in range(len(coordinates)):
        row = exponents[j * m : (j + 1) * m]
        coordinate = coordinates[j]
        for i in range(m):
            x = (centers[i] - coordinate) * scale
            row[i] = max(-x * x, _LOWEST)
    powers_of_two(exponents, scratch, out)


@_fast
def render(
    births: NDArray[np.float32],
    persistences: NDArray[np.float32],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    columns: NDArray[np.float32],
    rows: NDArray[np.float32],
    bandwidth: float,
    out: NDArray[np.float32],
) -> None:
    """Render diagrams: sums of Gaussians times weights.

    Args:
        births: (P,) finite.
        persistences: (P,) finite.
        weights: (P,) heights of the Gaussians, finite.
        offsets: (n + 1,) bounds of the diagrams.
        columns: coordinates of the persistence image's columns along births.
        rows: coordinates of the persistence image's rows along persistences.
        bandwidth: standard deviation.
        out: (n, rows, columns), for the output.
    """
    side = max(len(rows), len(columns)) * _CHUNK
    exponents = np.empty(side, np.float32)
    scratch = np.empty(side, np.int32)
    up = np.empty(len(rows) * _CHUNK, np.float32)
    across = np.empty(len(columns) * _CHUNK, np.float32)
    # Loops run over a multiple of 16 points: those that fill up have weight 0.
    x = np.zeros(_CHUNK, np.float32)
    y = np.zeros(_CHUNK, np.float32)
    w = np.zeros(_CHUNK, np.float32)
    out[:] = 0
    for n in range(len(offsets) - 1):
        for start in range(offsets[n], offsets[n + 1], _CHUNK):
            count = min(_CHUNK, offsets[n + 1] - start)
            level = True
            for i in range(count):
                x[i] = births[start + i]
                y[i] = persistences[start + i]
                w[i] = weights[start + i]
                level &= x[i] == x[0]
            padded = (count + 15) // 16 * 16
            w[count:padded] = 0
            heights = up[: len(rows) * padded]
            size = len(heights)
            gaussians(y[:padded], rows, bandwidth, exponents[:size], scratch[:size], heights)
            # If all births are equal, as in Rips H0, the persistence image is a column times a row.
            width = 1 if level else padded
            profiles = across[: len(columns) * width]
            size = len(profiles)
            gaussians(x[:width], columns, bandwidth, exponents[:size], scratch[:size], profiles)
            for r in range(len(rows)):
                height = heights[r * padded : (r + 1) * padded]
                total = np.float32(0)
                for i in range(padded):
                    height[i] *= w[i]
                    total += height[i]
                for c in range(len(columns)):
                    if level:
                        out[n, r, c] += total * profiles[c]
                    else:
                        profile = profiles[c * padded : (c + 1) * padded]
                        value = np.float32(0)
                        for i in range(padded):
                            value += height[i] * profile[i]
                        out[n, r, c] += value

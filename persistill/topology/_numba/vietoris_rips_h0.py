"""Compiled kernels for point clouds: distances, minimum spanning trees, lengths of chosen edges and their gradient.

Distances are sums of squared differences, never |x|^2 + |y|^2 - 2 x.y: that matrix product cancels on a cloud far from
the origin, and follows settings of torch that lower its precision. The sums cost no more, because the work is cut so
that a processor can do them at full width: points are stored transposed, a tile holds the distances from four points
to up to 128 others while it runs through the coordinates, and only one triangle of the matrix is computed.

Coordinates are first multiplied by a power of two, which is exact, so that squares neither overflow nor vanish.

The tree is grown by Prim's algorithm: n - 1 times, the distances to the newest vertex lower those to the tree, and the
least one is searched for. Both loops run over contiguous memory without a branch. Above ``LARGEST`` points the matrix
is not held: the distances to the newest vertex are computed when they are needed, in a memory of n * d.

*How far from the floor.* A cloud of 64 points in 64 dimensions takes 0.0125 ms on a core with AVX-512: 0.001 to
transpose, 0.0055 for the matrix, 0.004 for the tree, 0.002 to measure its edges in float64 and to sort them. The
129,000 squared differences cannot take less than 0.003 (two instructions for 16 of them, two instructions a cycle), nor
the 63 searches, each of which waits for the one before, less than about 0.002. A product of matrices alone, which is
what the distances would be taken from otherwise, takes 0.006.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel
from persistill.topology._numba.llvm_vectors import WIDTH, transpose

LARGEST = 1024  # points in a cloud whose matrix of distances is held, 4 MB in float32
_FEW = 256  # points whose edges are sorted by counting, which compares all with all, but 16 at a time
_WIDTH = 128  # columns of a tile: its sums, 2 kB, stay in the first cache
# Sums may be reordered and multiplications fused with them; none of the values is NaN.
# Inlined: as functions of their own, they would be other machine code in the process that compiles them than in
# those that read what it kept, with sums in another order.
_fast = functools.partial(kernel, forceinline=True, fastmath={"contract", "nnan", "nsz", "reassoc"})


@kernel
def largest_magnitudes(bits: NDArray[Any], found: NDArray[Any]) -> None:
    """Largest absolute value of each row, all as the bits of floats.

    Without their sign, bits of floats are ordered as the floats are, and those of infinities and NaN lie above all
    others: one loop over integers finds the scale and whatever is not finite.

    Args:
        bits: (B, m) int32 or int64, a view of float32 or float64.
        found: (B,) of the same dtype, for the output.
    """
    mask = np.iinfo(bits.dtype).max
    for b in range(len(bits)):
        top = np.int64(0)
        for value in bits[b]:
            top = max(top, value & mask)
        found[b] = top


@kernel
def asymmetry(matrices: NDArray[Any], tolerances: NDArray[np.float64]) -> int:
    """First position in (B, n, n) distances, flattened, that is negative, asymmetric, or not 0 on the diagonal.

    Args:
        matrices: (B, n, n), finite.
        tolerances: (B,), how far two sides of a matrix may lie apart, and its diagonal from 0.

    Returns:
        The position, or -1 if there is none.
    """
    size, n, _ = matrices.shape
    for b in range(size):
        matrix = matrices[b]
        for u in range(n):
            if abs(matrix[u, u]) > tolerances[b]:
                return int((b * n + u) * n + u)
            for v in range(u + 1, n):
                there, back = matrix[u, v], matrix[v, u]
                if there < 0 or back < 0 or abs(there - back) > tolerances[b]:
                    return int((b * n + u) * n + v)
    return -1


@kernel
def _transpose(points: NDArray[Any], scale: float, transposed: NDArray[Any]) -> None:
    """Write ``scale * points`` (n, d) to the first d rows and n columns of ``transposed``; both C-contiguous."""
    n, d = points.shape
    size = points.itemsize
    row, column = d * size, transposed.shape[1] * size
    whole_n, whole_d = n - n % WIDTH, d - d % WIDTH
    for i in range(0, whole_n, WIDTH):
        for k in range(0, whole_d, WIDTH):
            source, target = points.ctypes.data + i * row + k * size, transposed.ctypes.data + k * column + i * size
            transpose(source, row, target, column, points[0, 0])
    for i in range(n):
        for k in range(whole_d if i < whole_n else 0, d):
            transposed[k, i] = points[i, k]
    for k in range(d):
        for i in range(n):
            transposed[k, i] *= scale  # in float64, because the scale of tiny float32 clouds exceeds float32


@_fast
def _tile(transposed: NDArray[Any], i: int, j: int, width: int, sums: NDArray[Any]) -> None:
    sums[:] = 0
    for k in range(0, len(transposed), 2):
        x, y = transposed[k], transposed[k + 1]
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
        x, y = x[j:], y[j:]
        for c in range(width):
            a, b = x[c], y[c]
            sums[c] += (a - x0) ** 2 + (b - y0) ** 2
            sums[_WIDTH + c] += (a - x1) ** 2 + (b - y1) ** 2
            sums[2 * _WIDTH + c] += (a - x2) ** 2 + (b - y2) ** 2
            sums[3 * _WIDTH + c] += (a - x3) ** 2 + (b - y3) ** 2


@kernel
def _squares(transposed: NDArray[Any], sums: NDArray[Any], matrix: NDArray[Any]) -> None:
    n = len(matrix)
    for i in range(0, n, 4):
        # From a multiple of 16: loads of vectors that cross two lines of the cache cost twice.
        for j in range(i // 16 * 16, n, _WIDTH):
            width = min(_WIDTH, n - j)
            _tile(transposed, i, j, width, sums)
            for r in range(4):
                for c in range(width):
                    matrix[i + r, j + c] = sums[r * _WIDTH + c]
            for c in range(width):
                for r in range(4):
                    matrix[j + c, i + r] = sums[r * _WIDTH + c]


@kernel
def workspace(data: NDArray[Any], distances: bool, held: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Transposed points, sums of a tile and, if it is to be held, the matrix of a cloud, padded to whole tiles."""
    _, n, d = data.shape
    side = (n + 3) // 4 * 4
    return (
        np.zeros((0 if distances else (d + 1) // 2 * 2, side), data.dtype),
        np.empty(4 * _WIDTH, data.dtype),
        np.empty((side, side) if held else (0, 0), data.dtype),
    )


@kernel
def fill(
    cloud: NDArray[Any],
    scale: float,
    distances: bool,
    transposed: NDArray[Any],
    sums: NDArray[Any],
    matrix: NDArray[Any],
) -> None:
    """Write what orders the edges of one cloud: squared distances of scaled points, or given distances.

    Args:
        cloud: (n, d) points or (n, n) distances; of distances only those above the diagonal are read.
        scale: power of two by which coordinates are multiplied.
        distances: whether ``cloud`` holds distances.
        transposed: working memory, as ``sums``: see ``workspace``.
        sums: working memory.
        matrix: the output, in its first n rows and columns.
    """
    if distances:
        n = len(cloud)
        for u in range(n):
            for v in range(u + 1, n):
                matrix[u, v] = matrix[v, u] = abs(cloud[u, v])  # abs: -0.0 would be sorted behind all others
            matrix[u, u] = 0
    else:
        _transpose(cloud, scale, transposed)
        _squares(transposed, sums, matrix)


@_fast
def _row(transposed: NDArray[Any], i: int, row: NDArray[Any]) -> None:
    n = len(row)
    row[:] = 0
    for k in range(0, len(transposed), 2):
        x, y = transposed[k], transposed[k + 1]
        x0, y0 = x[i], y[i]
        for j in range(n):
            row[j] += (x[j] - x0) ** 2 + (y[j] - y0) ** 2


@_fast
def _nearest(
    row: NDArray[Any], near: NDArray[Any], taken: NDArray[Any], parent: NDArray[np.int32], newest: np.int32
) -> np.int32:
    n = len(near)
    for j in range(n):
        length = row[j] + taken[j]
        nearer = length < near[j]
        near[j] = length if nearer else near[j]
        parent[j] = newest if nearer else parent[j]
    least = near[0]
    for j in range(n):
        least = min(least, near[j])
    last = np.int32(n - 1)  # also the answer if there were a NaN after all: never an index out of bounds
    found = last
    for j in range(n):
        found = min(found, np.int32(j) if near[j] == least else last)
    return found


@kernel
def _prim(
    matrix: NDArray[Any],
    transposed: NDArray[Any],
    held: bool,
    parents: NDArray[np.int32],
    order: NDArray[np.int32],
) -> None:
    """Write the vertices in the ``order`` in which the tree takes them, and to which of it each was joined."""
    n = len(order)
    row, near, taken = np.empty(n, matrix.dtype), np.empty(n, matrix.dtype), np.zeros(n, matrix.dtype)
    near[:] = np.inf
    newest = np.int32(0)
    for step in range(n):
        order[step] = newest
        near[newest] = taken[newest] = np.inf
        if held:
            newest = _nearest(matrix[newest, :n], near, taken, parents, newest)
        else:
            _row(transposed, newest, row)
            newest = _nearest(row, near, taken, parents, newest)


@_fast
def _length(cloud: NDArray[Any], u: int, v: int, scale: float) -> float:
    total = 0.0
    for k in range(cloud.shape[1]):
        total += ((np.float64(cloud[u, k]) - np.float64(cloud[v, k])) * scale) ** 2
    return float(np.sqrt(total) / scale)


@kernel
def _rank(values: NDArray[Any], i: int) -> int:
    """The place of a value among all when they are sorted, equal ones by their number."""
    value = values[i]
    rank = 0
    for before in values[:i]:
        rank += before <= value
    for after in values[i + 1 :]:
        rank += after < value
    return rank


@kernel
def minimum_spanning_trees(
    data: NDArray[Any],
    scales: NDArray[np.float64],
    distances: bool,
    positions: NDArray[np.int64],
    lengths: NDArray[Any],
) -> None:
    """Minimum spanning trees: their edges, from the shortest to the longest.

    Args:
        data: (B, n, d) points or (B, n, n) distances, C-contiguous and finite, n >= 1.
        scales: (B,) powers of two by which coordinates are multiplied.
        distances: whether ``data`` holds distances.
        positions: (B, n - 1), for the edges as positions u * n + v in the (n, n) matrix of distances, u < v.
        lengths: (B, n - 1) of the dtype of ``data``, for the lengths, correctly rounded from the points.
    """
    size, n, _ = data.shape
    held = distances or n <= LARGEST
    transposed, sums, matrix = workspace(data, distances, held)
    parents, order = np.empty(n, np.int32), np.empty(n, np.int32)
    edges, measured = np.empty(n - 1, np.int64), np.empty(n - 1, data.dtype)
    for b in range(size):
        cloud, scale = data[b], scales[b]
        if held:
            fill(cloud, scale, distances, transposed, sums, matrix)
        else:
            _transpose(cloud, scale, transposed)
        _prim(matrix, transposed, held, parents, order)
        for step in range(1, n):
            newest = np.int64(order[step])
            older = np.int64(parents[newest])
            u, v = min(older, newest), max(older, newest)
            edges[step - 1] = u * n + v
            measured[step - 1] = cloud[u, v] if distances else _length(cloud, u, v, scale)
        if n <= _FEW:
            for step in range(n - 1):
                place = _rank(measured, step)
                positions[b, place], lengths[b, place] = edges[step], measured[step]
        else:
            rising = np.argsort(measured, kind="mergesort")
            for step in range(n - 1):
                positions[b, step], lengths[b, step] = edges[rising[step]], measured[rising[step]]


@kernel
def components(
    positions: NDArray[np.int64],
    lengths: NDArray[Any],
    n: int,
    threshold: float,
    essential: bool,
    pairs: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> int:
    """H0 from minimum spanning trees: (birth, death) of every component as positions in the matrix of distances.

    A component is born with its vertex of the least index, v, at the position v * n + v of the diagonal, and dies by
    the edge that joins it to one with a lesser index (elder rule; all births are 0).

    Args:
        positions: (B, n - 1), edges of the trees from the shortest to the longest.
        lengths: (B, n - 1), their lengths.
        n: how many points a cloud has, at least 1.
        threshold: edges that are longer than this do not enter.
        essential: whether components that never die are reported, with death -1.
        pairs: (B * n, 2), for the output.
        counts: (B,), for the number of pairs of each cloud.

    Returns:
        The number of pairs written.
    """
    elder = np.empty(n, np.int64)
    total = 0
    for b in range(len(positions)):
        first = total
        for i in range(n):
            elder[i] = i
        for step in range(n - 1):
            if lengths[b, step] > threshold:
                break
            u, v = divmod(positions[b, step], n)
            while elder[u] != u:
                elder[u] = u = elder[elder[u]]
            while elder[v] != v:
                elder[v] = v = elder[elder[v]]
            old, young = min(u, v), max(u, v)
            elder[young] = old
            pairs[total, 0] = young * (n + 1)
            pairs[total, 1] = positions[b, step]
            total += 1
        if essential:
            for i in range(n):
                if elder[i] == i:
                    pairs[total, 0] = i * (n + 1)
                    pairs[total, 1] = -1
                    total += 1
        counts[b] = total - first
    return total


@kernel
def measure(
    points: NDArray[Any],
    scales: NDArray[np.float64],
    positions: NDArray[np.int64],
    bounds: NDArray[np.int64],
    lengths: NDArray[Any],
) -> None:
    """Write the length of each edge; infinity at position -1.

    Args:
        points: (B, n, d).
        scales: (B,) powers of two by which coordinates are multiplied.
        positions: (Q,), edges as positions u * n + v.
        bounds: (B + 1,); the edges ``bounds[b]`` to ``bounds[b + 1]`` belong to cloud b.
        lengths: (Q,) of the dtype of ``points``, for the output.
    """
    n = points.shape[1]
    for b in range(len(points)):
        for q in range(bounds[b], bounds[b + 1]):
            if positions[q] < 0:
                lengths[q] = np.inf
            else:
                u, v = divmod(positions[q], n)
                lengths[q] = _length(points[b], u, v, scales[b])


@kernel
def scatter(
    points: NDArray[Any],
    positions: NDArray[np.int64],
    bounds: NDArray[np.int64],
    lengths: NDArray[Any],
    upstream: NDArray[Any],
    gradient: NDArray[Any],
) -> None:
    """Add the gradient of lengths to both end points: along the unit vector between them, 0 where they coincide.

    Args:
        points: (B, n, d).
        positions: (Q,), edges as positions u * n + v, or -1.
        bounds: (B + 1,); the edges ``bounds[b]`` to ``bounds[b + 1]`` belong to cloud b.
        lengths: (Q,), of these edges.
        upstream: (Q,), gradient with respect to ``lengths``.
        gradient: (B, n, d), added to.
    """
    n, d = points.shape[1:]
    for b in range(len(points)):
        cloud, total = points[b], gradient[b]
        for q in range(bounds[b], bounds[b + 1]):
            length = lengths[q]
            if positions[q] < 0 or length == 0:
                continue
            u, v = divmod(positions[q], n)
            for k in range(d):
                # The quotient first: the reciprocal of a tiny length would overflow.
                pull = (cloud[u, k] - cloud[v, k]) / length * upstream[q]
                total[u, k] += pull
                total[v, k] -= pull

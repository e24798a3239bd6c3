"""Vietoris-Rips persistence of point clouds: minimum spanning trees, H0 and H1."""

from collections.abc import Callable
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_dtype, checked_flags, checked_number, on_cpu, require_finite
from persistill.topology._eager import eager
from persistill.topology._numba.vietoris_rips_h0 import (
    asymmetry,
    components,
    largest_magnitudes,
    measure,
    minimum_spanning_trees,
    scatter,
)
from persistill.topology._numba.vietoris_rips_h1 import bytes_needed, loops
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology._reference import vietoris_rips_h0 as reference
from persistill.topology.diagrams import Diagrams

_DTYPES = ("float16", "bfloat16", "float32", "float64")
_BLOCK = 1 << 22  # differences of coordinates in one block of work, about a millisecond
_TOLERANCE = 1e-3  # of the largest distance, by which a matrix may miss symmetry and its diagonal zero


@overload
def mst_lengths(points: NDArray[Any], *, distances: bool = False, threads: int | None = None) -> NDArray[Any]: ...
@overload
def mst_lengths(points: Tensor, *, distances: bool = False, threads: int | None = None) -> Tensor: ...
@eager
def mst_lengths(points: Any, *, distances: bool = False, threads: int | None = None) -> Any:
    """Lengths of the edges of the Euclidean minimum spanning tree of every cloud, from the shortest to the longest.

    These are the finite deaths of Vietoris-Rips H0 (all births are 0), zeros of coincident points included, so that
    clouds of one size give arrays of one size. Differentiable: the gradient of a length is the unit vector between
    the end points of its edge, and zero where they coincide.

    Args:
        points: (..., n, d) floating point, finite; with ``distances`` (..., n, n), see ``rips_persistence``.
        distances: whether ``points`` holds distances instead of points.
        threads: how many threads; None for torch's number. CPU only.

    Returns:
        (..., n - 1) lengths, in the units of ``points``; float32, or float64 for float64. A cloud of one or no point
        has none. On the CPU they are exact but for the rounding of the result.

        Tensors on a GPU are worked on there, by Triton's kernels up to 16,384 points where there is Triton, and
        otherwise, as on any other device, by torch operations. Neither waits for the device. NaN and infinities are not
        looked for there: they give meaningless lengths.

    Raises:
        TypeError: if ``points`` is no floating-point array or tensor.
        ValueError: if the shape is wrong, if there is a NaN or an infinity (its index is named), or if distances
            are negative or asymmetric.
    """
    checked_flags(distances=distances)
    _require_clouds(points, distances)
    if isinstance(points, Tensor) and points.device.type != "cpu":
        return _device_implementation(points)(points, distances=distances)
    data = _PointClouds(points, distances)
    positions, lengths = _trees(data, checked_threads(threads))
    size, edges = lengths.shape
    shape = (*points.shape[:-2], edges)
    if isinstance(points, Tensor):
        bounds = np.arange(size + 1) * edges
        return data.gathered(points, positions.reshape(-1), lengths.reshape(-1), bounds).reshape(shape)
    return lengths.reshape(shape)


@overload
def rips_persistence(
    points: NDArray[Any],
    *,
    dimension: int = 0,
    distances: bool = False,
    threshold: float | None = None,
    essential: bool = False,
    max_memory: float = 2e9,
    threads: int | None = None,
) -> Diagrams[NDArray[Any]]: ...
@overload
def rips_persistence(
    points: Tensor,
    *,
    dimension: int = 0,
    distances: bool = False,
    threshold: float | None = None,
    essential: bool = False,
    max_memory: float = 2e9,
    threads: int | None = None,
) -> Diagrams[Tensor]: ...
@eager
def rips_persistence(
    points: Any,
    *,
    dimension: int = 0,
    distances: bool = False,
    threshold: float | None = None,
    essential: bool = False,
    max_memory: float = 2e9,
    threads: int | None = None,
) -> Any:
    """H0 or H1 of the Vietoris-Rips filtration of every cloud of a batch.

    The complex at t holds all edges of length at most t, and all triangles of such edges: the filtration value is the
    diameter, as in GUDHI and ripser, and not a radius. Edges of equal length enter in a fixed order; a merge is decided
    by the elder rule. Bars of no length are never reported.

    Time, on one core: 64 points in 64 dimensions take 0.02 ms for H0 and 0.07 ms for H1; H0 grows with n^2 d, H1 with
    n^3. Memory beyond input and output, for each thread: H0 n^2 numbers up to 1024 points and n d above; H1 about
    24 n^2 bytes (float32), and 8 n^2 more for every 63 classes that are alive at once.

    Args:
        points: (..., n, d) floating point, finite. float16 and bfloat16 are computed in float32.
        dimension: 0 for connected components, 1 for loops.
        distances: ``points`` holds distances instead, (..., n, n): not negative, symmetric, zero on the diagonal (up
            to a thousandth of the largest). Only entries above the diagonal are read, and they need not obey the
            triangle inequality.
        threshold: edges that are longer than this never enter; None for all of them. Loops need none beyond the
            enclosing radius (the least distance from one point within which all others lie), where all are filled.
        essential: also report classes that never die, with death inf: in H0 the last component (or all that the
            threshold leaves), in H1 the loops that are open at the threshold.
        max_memory: bytes of working memory that H1 may take, all threads together.
        threads: how many threads; None for torch's number.

    Returns:
        Diagrams of shape (...) with values in float32 (float64 for float64), in NumPy arrays or torch tensors like the
        input. ``indices`` are positions in the (n, n) matrix of distances, ``divmod(index, n)`` the two end points:
        the edge that gives birth to a loop and the longest edge of the triangle that fills it; in H0 the edge that
        merges, and the diagonal position (v, v) of the vertex of the component that dies. Gradients reach both end
        points of these edges, or the entries of ``points`` if it holds distances. Tensors on another device are
        copied to the CPU and back.

    Raises:
        TypeError: if ``points`` is no floating-point array or tensor.
        ValueError: if the shape is wrong, if there is a NaN or an infinity (its index is named), if distances are
            negative or asymmetric, if another argument is out of range, or if H1 needs more than ``max_memory``.
    """
    checked_flags(distances=distances, essential=essential)
    _require_clouds(points, distances)
    if isinstance(dimension, bool) or not isinstance(dimension, int | np.integer) or dimension not in (0, 1):
        raise ValueError(f"dimension must be 0 or 1; got {dimension}.")
    if threshold is not None:
        threshold = checked_number("threshold", threshold, 0, infinite=True)
    max_memory = checked_number("max_memory", max_memory, 0, infinite=True)
    data = _PointClouds(points, distances)
    beyond = threshold is None or threshold > float(np.finfo(data.array.dtype).max)
    limit = np.inf if beyond else float(data.array.dtype.type(threshold))
    workers = checked_threads(threads)
    if dimension == 0:
        pairs, counts = _components(data, limit, essential, workers)
    else:
        pairs, counts = _loops(data, limit, essential, max_memory, workers)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = data.lengths(pairs.reshape(-1), 2 * offsets).reshape(-1, 2)
    kept = values[:, 1] > values[:, 0]
    pairs, values = pairs[kept], values[kept]
    offsets = np.concatenate([[0], np.cumsum(kept)])[offsets]
    shape = points.shape[:-2]
    if isinstance(points, Tensor):
        tensor = data.gathered(points, pairs.reshape(-1), values.reshape(-1), 2 * offsets).reshape(-1, 2)
        where = torch.from_numpy(pairs).to(points.device)
        bounds = torch.from_numpy(offsets).to(points.device)
        return Diagrams(tensor, bounds, shape, indices=where, dimension=dimension)
    return Diagrams(values, offsets, shape, indices=pairs, dimension=dimension)


def _device_implementation(points: Tensor) -> Callable[..., Tensor]:
    """What grows trees on a device other than the CPU."""
    if points.is_cuda and points.numel() and points.shape[-2] > 1:
        try:
            # Triton comes only with torch's builds for GPUs.
            from persistill.topology._triton import vietoris_rips_h0 as triton_kernels  # noqa: PLC0415
        except ImportError:
            return reference.mst_lengths
        if points.shape[-2] <= triton_kernels.LARGEST:
            return triton_kernels.mst_lengths
    return reference.mst_lengths


class _PointClouds:
    """Clouds that have been checked, as the kernels read them.

    Attributes:
        array: (B, n, d), or (B, n, n) distances, C-contiguous float32 or float64.
        scales: (B,) powers of two which bring coordinates into the middle of the range of the dtype.
    """

    def __init__(self, points: NDArray[Any] | Tensor, distances: bool) -> None:
        if isinstance(points, Tensor):
            tensor = points.detach().cpu()
            array = (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()
        else:
            array = on_cpu(points)
            array = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
        size = int(np.prod(array.shape[:-2]))
        self.array = np.ascontiguousarray(array).reshape(size, *array.shape[-2:])
        self.distances = distances
        info = np.finfo(array.dtype)
        integer = np.dtype(f"i{array.itemsize}")
        found = np.empty(size, integer)
        largest_magnitudes(self.array.reshape(size, self.array.shape[1] * self.array.shape[2]).view(integer), found)
        top = found.view(array.dtype)
        if not np.isfinite(top).all():
            require_finite(array, "points")
        if not distances and (top > info.max / (2 * max(1, array.shape[-1]) ** 0.5)).any():
            raise ValueError(f"points reach {top.max():.3g}: their distances may be infinite in {array.dtype.name}.")
        # To 2^40 or 2^400: squares stay finite, and those of all lengths that matter stay normal.
        exponents = info.maxexp * 5 // 16 - np.frexp(top)[1]
        self.scales = np.ldexp(1.0, np.minimum(exponents, 1000).astype(np.int64))
        if distances:
            self._require_distances(points, top)

    def _require_distances(self, points: NDArray[Any] | Tensor, top: NDArray[Any]) -> None:
        position = asymmetry(self.array, _TOLERANCE * top.astype(np.float64))
        if position < 0:
            return
        *where, u, v = (int(i) for i in np.unravel_index(position, points.shape))
        entries = [(*where, u, v)] if u == v else [(*where, u, v), (*where, v, u)]
        found = " and ".join(f"points[{', '.join(map(str, entry))}] is {points[entry].item()}" for entry in entries)
        raise ValueError(f"{found}; distances must be 0 or more, symmetric, and 0 on the diagonal.")

    def map_blocks(self, work: Any, threads: int) -> list[Any]:
        _, n, d = self.array.shape
        return map_blocks(work, len(self.array), max(1, _BLOCK // max(1, n * n * d)), threads)

    def lengths(self, positions: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[Any]:
        """Lengths (Q,) of edges at ``positions``; those from bounds[b] to bounds[b + 1] belong to cloud b."""
        if self.distances:
            values: NDArray[Any] = self.array.reshape(-1)[self._flat(positions, bounds)]
            values[~self._edges(positions)] = 0
            values[positions < 0] = np.inf
            return values
        values = np.empty(len(positions), self.array.dtype)
        measure(self.array, self.scales, positions, bounds, values)
        return values

    def gathered(
        self, points: Tensor, positions: NDArray[np.int64], lengths: NDArray[Any], bounds: NDArray[np.int64]
    ) -> Tensor:
        """``lengths``, (Q,) of edges at ``positions``, as a tensor with a gradient to ``points``."""
        known = torch.from_numpy(lengths)
        if not (points.requires_grad and torch.is_grad_enabled()):
            return known.to(points.device)
        source = points.to("cpu", known.dtype)
        if self.distances:
            taken = source.reshape(-1)[torch.from_numpy(self._flat(positions, bounds))]
            return torch.where(torch.from_numpy(self._edges(positions)), taken, known).to(points.device)
        result: Tensor = _Lengths.apply(source, positions, lengths, bounds)
        return result.to(points.device)

    def _edges(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ``positions`` lie off the diagonal."""
        edges: NDArray[np.bool_] = (positions >= 0) & (positions % (self.array.shape[1] + 1) != 0)
        return edges

    def _flat(self, positions: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = np.repeat(np.arange(len(self.array)) * self.array.shape[1] ** 2, np.diff(bounds))
        flat: NDArray[np.int64] = starts + positions.clip(min=0)
        return flat


class _Lengths(torch.autograd.Function):
    """Lengths of edges between points, measured elsewhere; backward adds to both end points.

    Gradients that are to be differentiated again are computed by torch operations instead of the kernel.
    """

    @staticmethod
    def forward(
        ctx: Any, points: Tensor, positions: NDArray[np.int64], lengths: NDArray[Any], bounds: NDArray[np.int64]
    ) -> Tensor:
        ctx.save_for_backward(points)
        ctx.edges = positions, lengths, bounds
        return torch.from_numpy(lengths)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (points,) = ctx.saved_tensors
        positions, lengths, bounds = ctx.edges
        if torch.is_grad_enabled():  # with create_graph=True
            size, n = len(bounds) - 1, points.shape[-2]
            real = positions >= 0
            u, v = np.divmod(positions[real], n) + np.repeat(np.arange(size) * n, np.diff(bounds))[real]
            first, second, used = (torch.from_numpy(array)[None] for array in (u, v, np.flatnonzero(real)))
            whole = points.reshape(1, size * n, points.shape[-1])
            gradients = reference.edge_gradients(whole, first, second, upstream[used[0]][None])
            return gradients.reshape(points.shape), None, None, None
        clouds = points.numpy().reshape(len(bounds) - 1, *points.shape[-2:])
        gradient = np.zeros(clouds.shape, clouds.dtype)
        scatter(np.ascontiguousarray(clouds), positions, bounds, lengths, upstream.contiguous().numpy(), gradient)
        return torch.from_numpy(gradient).reshape(points.shape), None, None, None


def _trees(data: _PointClouds, threads: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Positions and lengths (B, n - 1) of the edges of the minimum spanning trees, by length."""
    size, n, _ = data.array.shape
    positions = np.empty((size, max(0, n - 1)), np.int64)
    lengths = np.empty(positions.shape, data.array.dtype)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        minimum_spanning_trees(data.array[part], data.scales[part], data.distances, positions[part], lengths[part])

    if n > 1:
        data.map_blocks(work, threads)
    return positions, lengths


def _components(
    data: _PointClouds, threshold: float, essential: bool, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (P, 2) of H0 and their counts (B,)."""
    size, n, _ = data.array.shape
    pairs, counts = np.empty((size * n, 2), np.int64), np.zeros(size, np.int64)
    if n == 0:
        return pairs, counts
    positions, lengths = _trees(data, threads)
    return pairs[: components(positions, lengths, n, threshold, essential, pairs, counts)], counts


def _loops(
    data: _PointClouds, threshold: float, essential: bool, max_memory: float, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (P, 2) of H1 and their counts (B,)."""
    size, n, _ = data.array.shape
    counts = np.zeros(size, np.int64)
    if size == 0 or n < 4:
        return np.empty((0, 2), np.int64), counts
    itemsize = data.array.itemsize
    needed = bytes_needed(n, itemsize)
    if needed > max_memory:
        raise ValueError(
            f"H1 of {n} points would take about {needed / 1e9:.2g} GB of working memory and max_memory allows "
            f"{max_memory / 1e9:.2g} GB. Give fewer points (a sample of each cloud), or raise max_memory."
        )
    threads = int(min(threads, size, max_memory // needed))
    layers = 1
    # A growing word holds the old layers beside the new ones. n^2 / 4 loops is the most there can be.
    while layers * 63 < n * n // 4 and threads * bytes_needed(n, itemsize, 3 * layers) <= max_memory:
        layers *= 2
    kind = np.empty(0, f"u{itemsize}")

    def work(start: int, stop: int) -> NDArray[np.int64]:
        part = slice(start, stop)
        found: NDArray[np.int64] = loops(
            data.array[part], kind, data.scales[part], data.distances, threshold, essential, layers, counts[part]
        )
        return found

    parts = data.map_blocks(work, threads)
    if (counts < 0).any():
        raise ValueError(
            f"cloud {int(np.argmin(counts))} of {n} points has more than {layers * 63} loops open at once, and H1 "
            f"would take more than the {max_memory / 1e9:.2g} GB that max_memory allows. Set a threshold (long edges "
            "are then left out), use fewer threads, or raise max_memory."
        )
    return np.concatenate(parts), counts


def _require_clouds(points: Any, distances: bool) -> None:
    checked_dtype(points, "points", _DTYPES)
    shape = tuple(points.shape)
    if distances and (len(shape) < 2 or shape[-1] != shape[-2]):
        raise ValueError(f"points must hold square matrices of distances (..., n, n); got shape {shape}.")
    if len(shape) < 2:
        raise ValueError(f"points must have shape (..., n, d), n points of d coordinates; got {shape}.")

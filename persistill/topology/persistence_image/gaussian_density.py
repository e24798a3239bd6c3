"""Persistence images by evaluation at the points of a grid, as GUDHI computes them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from persistill.topology._checks import checked_count, checked_number
from persistill.topology._eager import eager
from persistill.topology._numba.gaussian_density import render
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    as_tensor,
    checked_points,
    finite,
    padded_batches,
    with_batch_shape,
)

WeightName = Literal["constant", "linear", "topkd"]
_BLOCK = 64  # diagrams in one block of work
# Functions of the library (NumPy or torch), births and persistences.
_WEIGHTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "constant": lambda library, _births, persistences: library.ones_like(persistences),
    "linear": lambda _library, _births, persistences: persistences,
    "topkd": lambda library, births, persistences: 10 * library.tanh(persistences) + 10 * library.log(100 * births + 1),
}


@eager
def point_persistence_images(
    diagrams: Diagrams[Array],
    *,
    pixels: tuple[int, int] = (20, 20),
    bandwidth: float,
    births: tuple[float, float],
    persistences: tuple[float, float],
    weight: WeightName | Callable[[Array, Array], Array] = "linear",
    threads: int | None = None,
) -> Array:
    """Sums of Gaussian densities, evaluated at the points of a grid instead of integrated over pixels.

    The value at the grid's point (x, y) is ``sum_i w_i / (2 pi s^2) exp(-((b_i - x)^2 + (p_i - y)^2) / (2 s^2))`` for
    points with birth b and persistence p, weight w and bandwidth s. This is what GUDHI's
    ``representations.PersistenceImage`` computes, and what TopKD (Kim et al., ICML 2024) distills; here row 0 holds
    the largest persistences and column 0 the lowest births, whereas GUDHI's rows rise:
    ``images.flip(-2).reshape(n, -1)`` is its vector. A Gaussian ends where it falls to 1e-19 (float32) or 1e-154 of its
    height. Settings that integrate are ``PersistenceImageConfig``.

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255. In superlevel diagrams births are
            births and persistences are never negative.
        pixels: (rows, columns): persistences, births.
        bandwidth: standard deviation of the Gaussian, in the units of the values.
        births: (first, last) coordinate of the grid along births, both included; may be equal, as in TopKD.
        persistences: (first, last) coordinate of the grid along persistences.
        weight: "constant" (1), "linear" (p), "topkd" (``10 tanh(p) + 10 ln(100 b + 1)``), or a function of the births
            (P,) and persistences (P,) of all points, in arrays of the diagrams' kind, to weights (P,).
        threads: how many threads render float32 diagrams that carry no gradients; None for torch's number.

    Returns:
        (..., rows, columns), in the dtype of the diagrams (8-bit: float32), differentiable.

    Raises:
        TypeError: if an argument has a wrong type.
        ValueError: if a point is not finite (its number is named), an argument is not allowed, or a weight is not
            finite ("topkd" needs births above -0.01).
    """
    if not isinstance(pixels, Sequence | np.ndarray) or len(pixels) != 2:
        raise TypeError(f"pixels must be (rows, columns); got {pixels!r}.")
    rows, columns = (checked_count("pixels", side) for side in pixels)
    bandwidth = checked_number("bandwidth", bandwidth, 0, strict=True)
    threads = checked_threads(threads)
    values = checked_points(diagrams)
    born, lengths = values[:, 0], (values[:, 1] - values[:, 0]).abs()
    weights = _weights(weight, born, lengths, tensors=isinstance(diagrams.values, Tensor))
    heights = weights / (2 * math.pi * bandwidth**2)
    across = _coordinates(_window("births", births), columns, values)
    up = _coordinates(_window("persistences", persistences), rows, values).flip(0)
    tracked = born.requires_grad or heights.requires_grad
    if values.dtype == torch.float32 and values.device.type == "cpu" and not tracked:
        images = _render_by_kernel(born, lengths, heights, as_tensor(diagrams.offsets), across, up, bandwidth, threads)
    else:
        features = torch.stack([born, lengths, heights], 1)
        blocks = padded_batches(features, as_tensor(diagrams.offsets), rows + columns)
        images = torch.cat([_render_by_torch(block, across, up, bandwidth) for block in blocks])
    result: Array = with_batch_shape(images, diagrams)
    return result


def _render_by_torch(points: Tensor, across: Tensor, up: Tensor, bandwidth: float) -> Tensor:
    """(k, rows, columns) from (k, m, 3), the births, persistences and heights of k diagrams."""
    births, persistences, heights = points.unbind(2)
    with torch.autocast(births.device.type, enabled=False):
        above = heights[..., None] * _gaussians(persistences, up, bandwidth)
        return above.mT @ _gaussians(births, across, bandwidth)


def _gaussians(centers: Tensor, coordinates: Tensor, bandwidth: float) -> Tensor:
    exponents = -0.5 * ((centers[..., None] - coordinates) / bandwidth) ** 2
    # Below this a product of two could not be held as a normal number, and arithmetic with others is slow.
    return exponents.clamp(min=0.5 * math.log(torch.finfo(exponents.dtype).tiny)).exp()


def _render_by_kernel(
    births: Tensor,
    persistences: Tensor,
    heights: Tensor,
    offsets: Tensor,
    across: Tensor,
    up: Tensor,
    bandwidth: float,
    threads: int,
) -> Tensor:
    """The same by the kernel, for float32 on the CPU and without gradients."""
    parts = [part.contiguous().numpy() for part in (births, persistences, heights)]
    bounds, columns, rows = offsets.numpy(), across.numpy(), up.numpy()
    out = np.empty((len(bounds) - 1, len(rows), len(columns)), np.float32)

    def work(start: int, stop: int) -> None:
        render(*parts, bounds[start : stop + 1], columns, rows, bandwidth, out[start:stop])

    map_blocks(work, len(out), _BLOCK, threads)
    return torch.from_numpy(out)


def _coordinates(window: tuple[float, float], count: int, values: Tensor) -> Tensor:
    return torch.linspace(*window, count, dtype=torch.float64).to(values)


def _window(name: str, window: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(window, Sequence | np.ndarray) or len(window) != 2:
        raise TypeError(f"{name} must be (first, last); got {window!r}.")
    first, last = (checked_number(name, bound) for bound in window)
    if first > last:
        raise ValueError(f"{name} must be (first, last), first <= last; got {tuple(window)}.")
    return first, last


def _weights(weight: Any, births: Tensor, persistences: Tensor, *, tensors: bool) -> Tensor:
    if callable(weight):
        weights = as_tensor(weight(births, persistences) if tensors else weight(births.numpy(), persistences.numpy()))
    elif weight not in _WEIGHTS:
        raise ValueError(f"weight must be a function or one of {', '.join(map(repr, _WEIGHTS))}; got {weight!r}.")
    elif births.requires_grad or births.device.type != "cpu":
        weights = _WEIGHTS[weight](torch, births, persistences)
    else:
        with np.errstate(invalid="ignore", divide="ignore"):  # said below
            weights = as_tensor(_WEIGHTS[weight](np, births.numpy(), persistences.numpy()))
    weights = weights.to(persistences)
    if weights.shape != persistences.shape:
        raise ValueError(f"weight must return shape {tuple(persistences.shape)}; got {tuple(weights.shape)}.")
    if not finite(weights):
        point = int((~weights.isfinite()).nonzero()[0])
        raise ValueError(
            f"the weight of point {point} (birth {float(births[point]):g}, persistence "
            f"{float(persistences[point]):g}) is {float(weights[point])}; weights must be finite."
        )
    return weights

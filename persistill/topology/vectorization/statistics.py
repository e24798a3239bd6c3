"""Statistics of each diagram: entropy, total persistence, longest lifetimes."""

import torch
from torch import Tensor

from persistill.topology._checks import checked_count, checked_number
from persistill.topology._eager import eager
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    as_tensor,
    checked_points,
    padded_batches,
    sum_by_diagram,
    with_batch_shape,
)


@eager
def persistence_entropy(diagrams: Diagrams[Array]) -> Array:
    """Shannon entropy of the lifetimes of each diagram, with the natural logarithm.

    ``-sum_i (l_i / L) ln(l_i / L)`` with lifetimes l_i and their sum L (Chintakunta et al., An entropy-based
    persistence barcode, Pattern Recognition 48, 2015): ln(n) for n equal bars, 0 for one bar. Points on the
    diagonal do not count; a diagram without other points has entropy 0.

    Args:
        diagrams: of shape (...), finite.

    Returns:
        (...,) entropies, differentiable.

    Raises:
        TypeError: if these are no diagrams of uint8, float32 or float64.
        ValueError: if a point is not finite (its number is named).
    """
    lengths, diagram_index = _lifetimes(diagrams)
    shares = lengths / sum_by_diagram(lengths, diagram_index, len(diagrams))[diagram_index]
    entropies: Array = with_batch_shape(sum_by_diagram(-shares * shares.log(), diagram_index, len(diagrams)), diagrams)
    return entropies


@eager
def total_persistence(diagrams: Diagrams[Array], *, power: float = 1.0) -> Array:
    """Sum of the lifetimes of each diagram, each raised to ``power``.

    ``sum_i l_i ** power`` (Cohen-Steiner et al., Lipschitz functions have L_p-stable persistence, Found. Comput.
    Math. 10, 2010); 0 for an empty diagram. No root is taken.

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255.
        power: above 0. The gradient of a point on the diagonal is taken to be 0.

    Returns:
        (...,) sum_by_diagram, differentiable.

    Raises:
        TypeError: if these are no diagrams of uint8, float32 or float64, or ``power`` is no number.
        ValueError: if a point is not finite (its number is named), or ``power`` is not above 0.
    """
    power = checked_number("power", power, 0, strict=True)
    lengths, diagram_index = _lifetimes(diagrams)
    totals: Array = with_batch_shape(sum_by_diagram(lengths**power, diagram_index, len(diagrams)), diagrams)
    return totals


@eager
def sorted_lifetimes(diagrams: Diagrams[Array], count: int) -> Array:
    """The ``count`` longest lifetimes of each diagram, longest first, filled up with zeros.

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255.
        count: how many, at least 1.

    Returns:
        (..., count) lifetimes, differentiable.

    Raises:
        TypeError: if these are no diagrams of uint8, float32 or float64, or ``count`` is no integer.
        ValueError: if a point is not finite (its number is named), or ``count`` is below 1.
    """
    count = checked_count("count", count)
    values = checked_points(diagrams)
    lengths = (values[:, 1] - values[:, 0]).abs()[:, None]
    parts = []
    for block in padded_batches(lengths, as_tensor(diagrams.offsets), 1):
        longest = block.squeeze(2).topk(min(count, block.shape[1]), dim=1).values
        parts.append(torch.nn.functional.pad(longest, (0, count - longest.shape[1])))
    sorted_: Array = with_batch_shape(torch.cat(parts), diagrams)
    return sorted_


def _lifetimes(diagrams: Diagrams[Array]) -> tuple[Tensor, Tensor]:
    """The lifetimes above 0 and the index of the diagram of each."""
    values = checked_points(diagrams)
    lengths = (values[:, 1] - values[:, 0]).abs()
    lasting = lengths > 0
    return lengths[lasting], as_tensor(diagrams.diagram_index)[lasting]

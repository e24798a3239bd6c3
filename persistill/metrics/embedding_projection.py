"""Maps of embeddings: a projection of a network's embeddings onto a plane."""

import numpy as np
import torch
from torch import Tensor

PERPLEXITY = 30
"""About how many neighbors of an image count; fewer on small maps."""
STEPS = 500
"""Of gradient descent. A thousand, scikit-learn's own choice, take twice as long and change little."""
_FEWEST = 5


def embedding_map(embedding: Tensor) -> Tensor:
    """Project embeddings onto a plane so that neighbors stay neighbors.

    t-SNE (van der Maaten and Hinton, JMLR 2008) as scikit-learn computes it, started from the first two principal
    components. It keeps neighbors; sizes of clusters and distances between them mean little. Fewer than five
    images are placed at their principal components, without t-SNE.

    Args:
        embedding: (N, D), of any unit.

    Returns:
        (N, 2) float32 on the CPU, the same for the same input: with mean 0, and a root mean square distance from it
        of 1, or of 0 if all images lie in one place. Rows of images whose embedding is not finite are nan; the
        others are mapped as if these were not there.
    """
    points = embedding.detach().cpu().double()
    finite = points.isfinite().all(1)
    found = torch.full((len(points), 2), torch.nan)
    found[finite] = torch.from_numpy(_unit(_flattened(points[finite].numpy()))).float()
    return found


def turned(points: Tensor, onto: Tensor) -> Tensor:
    """Align a map with another by a rotation or reflection.

    The orthogonal Procrustes problem (Schönemann, Psychometrika 1966): no distance within the map changes.

    Args:
        points: (N, 2), from ``embedding_map``.
        onto: (N, 2) of the same images.

    Returns:
        (N, 2), nan where ``points`` is.
    """
    both = (points + onto).isfinite().all(1)
    left, _, right = torch.linalg.svd(points[both].double().T @ onto[both].double())
    found: Tensor = points.double() @ (left @ right)
    return found.to(points.dtype)


def _flattened(points: np.ndarray) -> np.ndarray:
    """(N, D) finite -> (N, 2)."""
    start = _principal(points)
    if len(points) < _FEWEST or not start.any():
        return start
    from sklearn.manifold import TSNE  # noqa: PLC0415 - slow to import

    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
        init=(1e-4 * _unit(start)).astype(np.float32),
        max_iter=STEPS,
        random_state=0,
    )
    found: np.ndarray = tsne.fit_transform(_unit(points).astype(np.float32))
    return found


def _principal(points: np.ndarray) -> np.ndarray:
    """The first two principal components, each with the sign that makes its largest entry positive."""
    found = np.zeros((len(points), 2))
    if points.size:
        left, sizes, _ = np.linalg.svd(_unit(points), full_matrices=False)
        count = min(2, len(sizes))
        found[:, :count] = left[:, :count] * sizes[:count]
        found *= np.where(np.take_along_axis(found, np.abs(found).argmax(0)[None], 0) < 0, -1, 1)
    return found


def _unit(points: np.ndarray) -> np.ndarray:
    """Points less their mean, with a root mean square length of 1 unless all are one."""
    most = np.abs(points).max(initial=0)
    if most == 0:
        return points
    centered = points / most - (points / most).mean(0)  # of numbers up to 1: their squares are finite
    size = np.sqrt(np.square(centered).sum(1).mean())
    return centered / size if size > 1e-9 else np.zeros_like(centered)

"""Similarity of two networks on the same images: of their predictions and of their embeddings."""

import warnings

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.losses import check_logits, kl
from persistill.metrics._checks import check_finite
from persistill.topology import rips_persistence, wasserstein


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """Share of images for which both networks predict the same class, right or wrong; ties go to the lower class.

    Args:
        student_logits: (N, K).
        teacher_logits: (N, K).

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes differ, or logits are NaN or +inf.
    """
    _check(student_logits, teacher_logits)
    return float((student_logits.argmax(1) == teacher_logits.argmax(1)).double().mean())


def mean_kl(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """KL(teacher || student) of the probabilities, at temperature 1, in nats: its mean over images.

    Args:
        student_logits: (N, K), finite.
        teacher_logits: (N, K), finite.

    Returns:
        A number >= 0, and 0 for equal probabilities.

    Raises:
        UserError: if the shapes differ, or logits are NaN or +inf.
    """
    _check(student_logits, teacher_logits)
    # A sum of rounded terms may end a hair below 0.
    return max(0.0, float(kl(student_logits.double(), teacher_logits.double(), 1.0)))


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centered kernel alignment of two networks' embeddings.

    With X and Y the embeddings less their means over images,

        CKA = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)

    (Kornblith et al., "Similarity of neural network representations revisited", ICML 2019, equations 4 and 5). It is
    invariant to rotation and scale of an embedding. With fewer images than dimensions it is large for unrelated
    embeddings too.

    Args:
        first: (N, D), finite.
        second: (N, E) of the same images, finite.

    Returns:
        A number in [0, 1]: 1 for embeddings that are equal up to rotation, scale and shift; 0 if one is constant.

    Raises:
        UserError: if the shapes do not fit.
    """
    _check_embeddings(first, second)
    x, y = (_centered(points) for points in (first, second))
    norms = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    if norms == 0:
        return 0.0
    return min(1.0, float(torch.linalg.matrix_norm(y.T @ x) ** 2 / norms))


def diagram_distance(first: Tensor, second: Tensor) -> float:
    """Distance between the Vietoris-Rips diagrams of two embeddings, in dimension 0.

    Each cloud is scaled so that the mean squared distance of two of its points is 1; in its diagram stand the distances
    at which clusters merge. The 1-Wasserstein distance of the diagrams (ground metric: the larger difference of
    coordinates) is divided by the number of bars, N - 1, which makes it the mean shift of a bar.

    Args:
        first: (N, D), finite.
        second: (N, E), finite; of the same number of images, in any order.

    Returns:
        A number >= 0, in units of the typical distance of two points; 0 for equal shapes.

    Raises:
        UserError: if the shapes do not fit, or there are fewer than two images.
    """
    _check_embeddings(first, second)
    if len(first) < 2:
        raise UserError("the shape of an embedding needs at least two images; one was given.")
    diagrams = [rips_persistence(_unit(points)[None]) for points in (first, second)]
    return float(wasserstein(*diagrams)[0]) / (len(first) - 1)


def v_measure(embedding: Tensor, target: Tensor, clusters: int) -> float:
    """How well clusters of the embedding, found without labels, agree with the classes.

    k-means (the best of ten starts, from a fixed seed) divides the images into clusters; the V-measure is the
    harmonic mean of homogeneity (a cluster holds one class) and completeness (a class lies in one cluster)
    (Rosenberg and Hirschberg, EMNLP 2007), as scikit-learn computes both.

    Args:
        embedding: (N, D), finite.
        target: (N,) class numbers.
        clusters: how many; the number of classes. Never more than there are images.

    Returns:
        A fraction in [0, 1].
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.metrics import v_measure_score  # noqa: PLC0415

    means = KMeans(min(clusters, len(embedding)), n_init=10, random_state=0)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters: some stay empty, and the measure has its meaning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = means.fit_predict(embedding.double().cpu().numpy())
    return float(v_measure_score(target.cpu().numpy(), found))


def _check(student_logits: Tensor, teacher_logits: Tensor) -> None:
    check_logits(student_logits, teacher_logits, 1.0)
    for logits in (teacher_logits, student_logits):
        check_finite(logits)


def _check_embeddings(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or len(first) == 0:
        raise UserError(
            "embeddings must be (N, D) and (N, E), of the same images; "
            f"shapes {tuple(first.shape)} and {tuple(second.shape)} were given."
        )


def _centered(points: Tensor) -> Tensor:
    return points.double() - points.double().mean(0)


def _unit(points: Tensor) -> Tensor:
    """Points whose mean squared distance is 1: twice their variance, divided by n - 1. Coincident ones stay."""
    centered = _centered(points)
    mean_square = 2 * centered.square().sum() / (len(points) - 1)
    return centered / mean_square.sqrt() if mean_square > 0 else centered

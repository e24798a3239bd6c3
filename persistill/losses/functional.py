"""Terms that two or more methods share: pure functions of tensors, for any training loop.

All of them compute in fp32 (fp64 for fp64 inputs), whatever the inputs' type or an autocast around them, and
have finite gradients at equal, constant and all-zero features and in a batch of one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.structures import IGNORE_INDEX
from persistill.utils.gram import gram_matrix

Reduction = Literal["batchmean", "mean"]


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or as it is in fp64: squares and sums of half precision features overflow."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class FlatLogits(NamedTuple):
    """Logits of two or more networks, one row a position that has a class.

    Attributes:
        student: (N, K).
        teachers: (N, K) each.
        target: (N,) class numbers.
        image: (N,) int64, the image in the batch that a row is of; None where every row is an image of its own.
        batch: images in the batch.
    """

    student: Tensor
    teachers: list[Tensor]
    target: Tensor
    image: Tensor | None
    batch: int

    def mean_by_image(self, values: Tensor) -> Tensor:
        """Means over the rows of each image, (..., N) to (..., B); over all rows where an image has none."""
        if self.image is None:
            return values
        counts = torch.bincount(self.image, minlength=self.batch)
        sums = values.new_zeros(*values.shape[:-1], self.batch).index_add(-1, self.image, values)
        return torch.where(counts > 0, sums / counts.clamp(min=1), values.mean(-1, keepdim=True))


def flatten_logits(student: Tensor, teachers: Sequence[Tensor], target: Tensor) -> FlatLogits:
    """Logits of dense tasks as rows, so that what compares the classes of an image compares those of a position.

    Logits (B, K) are given back as they are.

    Args:
        student: (B, K), or (B, K, *) with any axes of positions.
        teachers: likewise, of the same shape.
        target: (B,) or (B, *) class numbers; positions of -100 are left out.

    Raises:
        UserError: if the shapes of dense logits and targets differ.
    """
    if student.ndim <= 2:
        return FlatLogits(student, list(teachers), target, None, len(student))
    shapes = [tuple(logits.shape) for logits in (student, *teachers)]
    if len(set(shapes)) > 1 or target.shape != student.shape[:1] + student.shape[2:]:
        raise UserError(
            f"dense logits of student and teachers must have one shape (B, K, *) and targets the shape (B, *); logits "
            f"of {', '.join(map(str, shapes))} and targets of {tuple(target.shape)} were given. Let networks give "
            "logits at the size of the masks."
        )
    known = target != IGNORE_INDEX
    rows = [logits.movedim(1, -1)[known] for logits in (student, *teachers)]
    image = torch.arange(len(target), device=target.device).reshape(-1, *[1] * (target.ndim - 1)).expand_as(target)
    return FlatLogits(rows[0], rows[1:], target[known], image[known], len(target))


def check_logits(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> None:
    """See that two networks' logits can be compared at a temperature.

    Raises:
        UserError: if they are not of one shape (B, K), or the temperature is not above 0.
    """
    if teacher_logits.ndim != 2 or teacher_logits.shape != student_logits.shape:
        raise UserError(
            f"the logits of student and teacher must have one shape (B, K); {tuple(student_logits.shape)} "
            f"and {tuple(teacher_logits.shape)} were given. Do both know the same classes?"
        )
    if not temperature > 0:
        raise UserError(f"the temperature must be above 0; {temperature} was given.")


def kl(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, reduction: Reduction = "batchmean"
) -> Tensor:
    """Temperature squared times KL(teacher || student) at that temperature (Hinton et al. 2015).

    The square keeps the gradient's size comparable over temperatures. The value is 0 for equal logits.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        temperature: divides the logits, above 0.
        reduction: "batchmean": sum over classes, mean over the batch, which is the divergence. "mean": mean
            over classes too, K times less, as in published code that calls ``nn.KLDivLoss()`` bare.

    Returns:
        A scalar, 0 or more.

    Raises:
        UserError: if the shapes differ, the temperature is not above 0, or the reduction is unknown.
    """
    if reduction not in ("batchmean", "mean"):
        raise unknown("reduction", reduction, ("batchmean", "mean"))
    divergence = divergences(student_logits, teacher_logits, temperature).mean()
    if reduction == "mean":
        divergence = divergence / teacher_logits.shape[1]
    return temperature**2 * divergence


def divergences(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of each image at a temperature, without the factor of ``kl``.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        temperature: divides the logits, above 0.

    Returns:
        (B,), 0 or more.

    Raises:
        UserError: if the shapes differ or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits, temperature)
    with torch.autocast(student_logits.device.type, enabled=False):
        teacher = F.log_softmax(full_precision(teacher_logits) / temperature, dim=1)
        student = F.log_softmax(full_precision(student_logits) / temperature, dim=1)
        return (teacher.exp() * (teacher - student)).sum(1)


def check_batches(student: Tensor, teacher: Tensor, what: str) -> None:
    """See that two networks' features are of one batch.

    Args:
        student: (B, ...).
        teacher: (B, ...).
        what: they are called in the error.

    Raises:
        UserError: if one holds more samples than the other.
    """
    if len(student) != len(teacher):
        raise UserError(
            f"student and teacher must see the same batch; the teacher's {what} hold {len(teacher)} samples, "
            f"the student's {len(student)}."
        )


def standardize_logits(logits: Tensor) -> Tensor:
    """Z-scores: the logits of each image less their mean, over their deviation (Sun et al. 2024, arXiv 2403.01427).

    What is left is how classes stand to each other, whatever the size of a network's logits. The deviation is that of
    a sample, divided by K - 1. Logits that are all equal become zero and pass no gradient.

    Args:
        logits: (B, K).

    Returns:
        (B, K).
    """
    return math.sqrt(logits.shape[1] - 1) * normalize_deviations(logits)


def gram(features: Tensor) -> Tensor:
    """Inner products of all pairs of samples.

    Args:
        features: (B, ...), one map or vector a sample; everything but the batch is flattened.

    Returns:
        (B, B), symmetric.
    """
    with torch.autocast(features.device.type, enabled=False):
        return gram_matrix(full_precision(features).flatten(1))


def normalize_rows(matrix: Tensor, eps: float | Tensor = 1e-12) -> Tensor:
    """Scale each row to unit L2 norm.

    A row of norm ``eps`` or less becomes zero and passes no gradient: dividing it by ``eps``, as is usual,
    would multiply its gradient by 1 / eps.

    Args:
        matrix: (B, N).
        eps: norm up to which a row counts as zero, one for all rows or (B, 1).

    Returns:
        (B, N).
    """
    with torch.autocast(matrix.device.type, enabled=False):
        matrix = full_precision(matrix)
        norm = torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
        alive = norm > eps
        return torch.where(alive, matrix, 0.0) / torch.where(alive, norm, 1.0)


def normalize_deviations(matrix: Tensor) -> Tensor:
    """Each row less its mean, scaled to unit L2 norm; the inner product of two such rows is their correlation.

    A constant row becomes zero and passes no gradient. Constant means up to rounding: what is left of equal numbers
    after their mean is taken away is noise, and its correlations would be noise with a huge gradient.

    Args:
        matrix: (B, N).

    Returns:
        (B, N).
    """
    matrix = full_precision(matrix)
    centered = matrix - matrix.mean(1, keepdim=True)
    return normalize_rows(centered, rounding(matrix))


def rounding(vectors: Tensor) -> Tensor:
    """Norm up to which a difference of such vectors may be rounding alone: 16 units in the last place of theirs.

    Args:
        vectors: (B, N), fp32 or fp64.

    Returns:
        (B, 1).
    """
    size: Tensor = torch.linalg.vector_norm(vectors.detach(), dim=1, keepdim=True)
    return (16 * torch.finfo(vectors.dtype).eps * size).clamp(min=1e-12)


def similarity(features: Tensor) -> Tensor:
    """The similarity matrix of a batch: its Gram matrix, rows scaled to unit norm (Tung and Mori 2019).

    It does not depend on the shape of the features behind the batch axis, nor on their common scale.

    Args:
        features: (B, ...).

    Returns:
        (B, B).
    """
    return normalize_rows(gram(features))


def to_common_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Average two maps down to the smaller of their heights and the smaller of their widths.

    Args:
        one: (B, C, H, W).
        other: (B, C', H', W').

    Returns:
        (B, C, h, w) and (B, C', h, w) with h = min(H, H'), w = min(W, W').
    """
    size = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    smaller, also = (
        features if features.shape[2:] == size else F.adaptive_avg_pool2d(full_precision(features), size)
        for features in (one, other)
    )
    return smaller, also


def match_maps(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], names: Sequence[str] | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Pair the stages of two networks, counted from the last: nearest to the decision, they are comparable.

    Args:
        student: stage name -> (B, C, H, W), in the order of computation.
        teacher: likewise; names, channels and sizes may differ from the student's.
        names: the student's stages to pair; None for all that have a partner.

    Returns:
        Pairs of a student's and a teacher's map, in the order of computation.

    Raises:
        UserError: if there is nothing to pair, a name is unknown or has no partner, or the batches differ.
    """
    partners = dict(zip(reversed(list(student)), reversed(list(teacher)), strict=False))
    if not partners:
        raise UserError(
            f"maps of teacher and student are compared, and the teacher returns {len(teacher)} of them, "
            f"the student {len(student)}. Use networks that return maps, or a method that needs none."
        )
    for name in names or ():
        if name not in student:
            raise unknown("stage of the student:", name, student)
        if name not in partners:
            raise UserError(
                f"the student's stage {name!r} has no partner: stages are paired from the last, and the "
                f"teacher has {len(teacher)} ({', '.join(teacher)}). Leave {name!r} out of maps."
            )
    chosen = [name for name in student if name in (partners if names is None else names)]
    pairs = [(student[name], teacher[partners[name]]) for name in chosen]
    for pair in pairs:
        check_batches(*pair, "maps")
    return pairs

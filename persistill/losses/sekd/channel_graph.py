"""Graphs whose vertices are the channels of a map, and what their spectra say of each other.

The graph of an image has an edge between two channels that look at the same places. Its Laplacian's eigenvectors of
small eigenvalue group channels that belong together. Pure functions of tensors, for SEKD and for any training loop.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.losses.functional import full_precision

Edges = Literal["cosine", "gaussian"]
SpectralForm = Literal["residual", "heat", "projector", "procrustes", "sign"]

_EDGES = ("cosine", "gaussian")
_FORMS = ("residual", "heat", "projector", "procrustes", "sign")
_GAP = 1e-3
"""Distance of two eigenvalues below which the derivative of their vectors, which divides by it, is damped."""


def channel_graph(maps: Tensor, edges: Edges = "cosine", bandwidth: float = 1.0) -> Tensor:
    """The graph of each image's channels: how much two channels look at the same places.

    With v_i the map of channel i, flattened and divided by sqrt(|v_i|^2 + 1e-6), an edge is max(0, <v_i, v_j>)
    ("cosine") or exp((<v_i, v_j> - 1) / bandwidth^2) ("gaussian", which for unit vectors is the Gaussian of half their
    squared distance). Every vertex has a loop of weight 1, so that its degree is never zero. A dead channel has no
    cosine edge, and no gradient.

    Args:
        maps: (B, C, H, W).
        edges: "cosine" or "gaussian".
        bandwidth: of Gaussian edges, above 0.

    Returns:
        (B, C, C), symmetric, entries in [0, 1] up to rounding, ones on the diagonal.

    Raises:
        UserError: if there is no such kind of edges.
    """
    if edges not in _EDGES:
        raise unknown("kind of edges", edges, _EDGES)
    with torch.autocast(maps.device.type, enabled=False):
        vertices = full_precision(maps).flatten(2)
        vertices = vertices * (vertices.square().sum(2, keepdim=True) + 1e-6).rsqrt()
        cosines = vertices @ vertices.transpose(1, 2)
        weights = cosines.relu() if edges == "cosine" else ((cosines - 1) / bandwidth**2).exp()
    loops = torch.eye(weights.shape[1], dtype=torch.bool, device=weights.device)
    return weights.masked_fill(loops, 1.0)


def laplacian(graph: Tensor) -> Tensor:
    """The normalized Laplacian I - D^(-1/2) A D^(-1/2), with the loops of A counted in the degrees D.

    Args:
        graph: A, (..., C, C), from ``channel_graph``.

    Returns:
        (..., C, C), symmetric, with eigenvalues from 0 to 2.
    """
    scale = graph.sum(-1).rsqrt()
    scaled: Tensor = scale.unsqueeze(-1) * graph * scale.unsqueeze(-2)
    return torch.eye(graph.shape[-1], dtype=graph.dtype, device=graph.device) - scaled


def eigenpairs(graph: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first non-trivial eigenpairs of a graph's Laplacian: those of least eigenvalue, the trivial ones last.

    Trivial are the vector of the degrees' square roots, of eigenvalue 0 in every graph, and the vectors of single
    vertices without neighbors (dead channels): they would fill the list and say nothing of relations.

    Vectors carry gradient. Where eigenvalues lie nearer to each other than 1e-3 their derivative is damped, as it
    diverges where they meet; it is right elsewhere to a relative (1e-3 / distance)^2.

    Args:
        graph: (..., C, C), from ``channel_graph``.
        count: how many, at least 1; C at most are there.

    Returns:
        Eigenvalues (..., k), without gradient, and eigenvectors (..., C, k), columns of unit norm; k = min(count, C).
    """
    with torch.autocast(graph.device.type, enabled=False):
        vectors: Tensor = _Eigenvectors.apply(laplacian(graph), _trivial(graph.detach()))
        chosen = vectors[..., :count]
        with torch.no_grad():
            values = (chosen * (laplacian(graph) @ chosen)).sum(-2)
    return values, chosen


def _trivial(graph: Tensor) -> Tensor:
    """The projector onto the trivial eigenvectors, (..., C, C)."""
    degrees = graph.sum(-1)
    alone = degrees - 1 < 1e-6
    shared = torch.where(alone, 0.0, degrees).sqrt()
    shared = shared / torch.linalg.vector_norm(shared, dim=-1, keepdim=True).clamp(min=1e-12)
    projector: Tensor = shared.unsqueeze(-1) * shared.unsqueeze(-2) + torch.diag_embed(alone.to(graph.dtype))
    return projector


class _Eigenvectors(torch.autograd.Function):
    """All eigenvectors of Laplacians, the trivial ones after all others, with a derivative that stays finite."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, trivial: Tensor) -> Tensor:
        # Decompositions raise at what is not finite. Hand it on instead: the training then names the term.
        finite = matrix.isfinite().flatten(-2).all(-1)[..., None, None]
        # No eigenvalue is above 2: the trivial ones move behind all others, or beside the last of them.
        _, vectors = torch.linalg.eigh(torch.where(finite, matrix + 2 * trivial, 0.0))
        vectors = torch.where(finite, vectors, torch.nan)
        ctx.save_for_backward(vectors, (vectors * (matrix @ vectors)).sum(-2))
        return vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        vectors, values = ctx.saved_tensors
        gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
        with torch.autocast(vectors.device.type, enabled=False):
            inner = gaps / (gaps.square() + _GAP**2) * (vectors.mT @ gradients[0])
            return vectors @ inner @ vectors.mT, None


def spectral_residual(student: Tensor, teacher: Tensor, count: int = 8) -> Tensor:
    """How far the teacher's first eigenpairs are from being the student's: |L_S U_T - U_T diag(lambda_T)|_F^2.

    No eigenvectors of the student are needed, their signs and rotations do not matter, and gradients are finite
    whatever the eigenvalues. It is computed as |(L_S - L_T) U_T|^2, which is the same and exactly 0 for equal graphs.

    Args:
        student: (B, C, C), graphs of ``channel_graph``.
        teacher: (B, C, C), likewise, without gradient.
        count: of the teacher's non-trivial eigenpairs.

    Returns:
        A scalar, 0 or more: the mean over graphs.
    """
    with torch.no_grad():
        _, vectors = eigenpairs(teacher, count)
    with torch.autocast(student.device.type, enabled=False):
        return _mean_norm((laplacian(student) - laplacian(teacher)) @ vectors)


def _mean_norm(matrices: Tensor) -> Tensor:
    """Mean of squared Frobenius norms, (B, N, M) to a scalar."""
    return matrices.square().sum((1, 2)).mean()


def spectral_difference(student: Tensor, teacher: Tensor, count: int = 8, form: SpectralForm = "residual") -> Tensor:
    """How two graphs' spectral embeddings differ. Every form is 0 for equal graphs and has finite gradients.

    Args:
        student: (B, C, C), graphs of ``channel_graph``.
        teacher: (B, C, C), likewise, without gradient.
        count: of non-trivial eigenpairs; "heat" uses the whole spectrum.
        form: with U the first eigenvectors, (C, k):

            * "residual": see ``spectral_residual``;
            * "heat": |exp(-L_S) - exp(-L_T)|_F^2, of the heat kernels;
            * "projector": |U_S U_S^T - U_T U_T^T|_F^2, of the spaces that the eigenvectors span;
            * "procrustes": min over rotations R of |U_S R - U_T|_F^2;
            * "sign": |U_S diag(s) - U_T|_F^2, with the signs s that bring each vector nearest to its partner.

            The last three need eigenvectors of the student, whose derivative is damped (see ``eigenpairs``). "sign"
            jumps where two eigenvalues change places, "projector" and "procrustes" where the k-th and the next do.

    Returns:
        A scalar, 0 or more: the mean over graphs.

    Raises:
        UserError: if the form is unknown, the shapes differ or the count is below 1.
    """
    if form not in _FORMS:
        raise unknown("spectral form", form, _FORMS)
    if student.shape != teacher.shape or count < 1:
        raise UserError(
            "spectral_difference compares at least 1 eigenpair of graphs of one shape (B, C, C); "
            f"{tuple(student.shape)}, {tuple(teacher.shape)} and count={count} were given. Bring the student's "
            "channels to the teacher's first."
        )
    with torch.autocast(student.device.type, enabled=False):
        if form == "residual":
            return spectral_residual(student, teacher, count)
        if form == "heat":
            kernels = [torch.linalg.matrix_exp(-laplacian(graph)) for graph in (student, teacher)]
            return _mean_norm(kernels[0] - kernels[1])
        _, ours = eigenpairs(student, count)
        _, theirs = eigenpairs(teacher.detach(), count)
        if form == "projector":
            return _mean_norm(ours @ ours.mT - theirs @ theirs.mT)
        return _mean_norm(ours @ _turn(ours.detach(), theirs, form) - theirs)


def _turn(ours: Tensor, theirs: Tensor, form: SpectralForm) -> Tensor:
    """The rotation, or the signs, that bring our vectors nearest to theirs: (B, k, k).

    The derivative of a minimum is that at its place, so that this needs none of its own.
    """
    inner = ours.mT @ theirs
    if form == "sign":
        return torch.diag_embed(torch.where(inner.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).to(inner.dtype))
    left, _, right = torch.linalg.svd(inner.nan_to_num())
    turn: Tensor = left @ right
    return turn

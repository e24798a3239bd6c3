"""SEKD-style distillation of the channels' graph: vertices, edges and spectral embedding, guided by attention.

After Wang, Huang, Ma, Wu and Ma 2024, "Multi-Level Feature Distillation via Channels Relational Graph", arXiv
2405.08547. Published, as far as it was at hand: the total loss L_origin + alpha L_V + beta L_E + gamma L_S, channels
as vertices and their relations as edges, a spectral embedding of that graph, attention guidance. The paper's formulas
of the three terms, its weights and its numbers were not at hand, and its published code does not contain the method:
every formula here is this package's completion of these ideas, and its results are not the paper's.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from persistill.losses.adapters import ConvNorm
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.losses.sekd.channel_graph import Edges, SpectralForm, channel_graph, spectral_difference
from persistill.structures import Batch, ModelOutput

GRAPH_ENTRIES = 2**23
"""Entries of all graphs that a batch may have: of more than 256 channels and 128 images, not all get one."""


class Masks(NamedTuple):
    """Where and at which channels a teacher's map is strong.

    Attributes:
        places: (B, H, W), with mean 1 over places.
        channels: (B, C), with mean 1 over channels.
    """

    places: Tensor
    channels: Tensor


def attention_masks(maps: Tensor, temperature: float = 0.5, *, relative: bool = False) -> Masks:
    """Soft masks of a map, as in FGD (Yang et al. 2022, "Focal and Global Knowledge Distillation for Detectors").

    Places: H W softmax(mean over channels of |F| / temperature); channels: C softmax(mean over places of |F| /
    temperature).

    Args:
        maps: (B, C, H, W), the teacher's.
        temperature: above 0; the lower, the sharper.
        relative: divide |F| by its mean over the image first. As published the masks get sharper as features get
            larger, down to a single channel.
    """
    batch, channels, height, width = maps.shape
    strength = full_precision(maps).abs()
    if relative:
        strength = strength / strength.mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
    places = F.softmax(strength.mean(1).flatten(1) / temperature, dim=1).reshape(batch, height, width)
    return Masks(height * width * places, channels * F.softmax(strength.mean((2, 3)) / temperature, dim=1))


def vertex_difference(student: Tensor, teacher: Tensor, masks: Masks | None = None) -> Tensor:
    """Mean squared difference of two maps, weighted by masks: sum M_c M_p (F_T - F_S)^2 / (B C H W).

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H, W), without gradient.
        masks: of the teacher; None for weights of 1.

    Returns:
        A scalar, 0 or more.
    """
    squares = (full_precision(student) - full_precision(teacher)).square()
    if masks is None:
        return squares.mean()
    return (squares * masks.places.unsqueeze(1) * masks.channels[:, :, None, None]).mean()


def edge_difference(student: Tensor, teacher: Tensor, masks: Masks | None = None) -> Tensor:
    """Mean squared difference of two graphs, weighted by masks: sum sqrt(M_i M_j) (A_T - A_S)_ij^2 / (B C^2).

    Args:
        student: (B, C, C), from ``channel_graph``.
        teacher: (B, C, C), without gradient.
        masks: of the teacher's map, of which those of the channels are used; None for weights of 1.

    Returns:
        A scalar, 0 or more.
    """
    squares = (student - teacher).square()
    if masks is None:
        return squares.mean()
    roots = masks.channels.sqrt()
    # Weighted sums over j, then over i: the B C^2 products of the weights are never stored.
    with torch.autocast(squares.device.type, enabled=False):
        return ((squares @ roots.unsqueeze(2)).squeeze(2) * roots).mean() / squares.shape[2]


class SEKD(DistillationLoss):
    """The channels' graph of the first teacher: vertices, edges, spectrum. Terms "vertex", "edge" and "spectral".

    "SEKD-style": the ideas and the sum are published, the formulas of the terms are ours (see the module). The
    student's map is brought to the teacher's channels by a 1x1 convolution and batch normalization that are trained
    along and thrown away, and to its size by averaging.

    Attributes:
        vertex: weight of "vertex", the masked mean squared difference of maps.
        edge: weight of "edge", the masked mean squared difference of graphs, one an image (where there are more
            than 256 channels, of the first 2^23 / channels^2 images of a batch, so that graphs do not dominate a
            step).
        spectral: weight of "spectral", the squared difference of spectral embeddings.
        form: how those are compared, see ``spectral_difference``; "residual" is safest and cheapest.
        eigenpairs: of the teacher's graph that are compared, from the first non-trivial one on.
        spectral_graph: "mean": of one graph, the mean over the batch; "each": of each image's own, which costs an
            eigendecomposition an image.
        edges: "cosine" or "gaussian", see ``channel_graph``.
        bandwidth: of Gaussian edges.
        levels: "last": the last stage; "all": all stages that have a partner, paired from the last; terms are means
            over them.
        masks: the teacher's attention that weighs places and channels: "fgd", "relative" (the same of features divided
            by their mean size), or "none".
        mask_temperature: of that attention; the lower, the sharper.
    """

    required_outputs = frozenset({"feature_maps"})

    vertex: Annotated[float, Field(ge=0)] = 0.03
    edge: Annotated[float, Field(ge=0)] = 10.0
    spectral: Annotated[float, Field(ge=0)] = 2.0
    form: SpectralForm = "residual"
    eigenpairs: Annotated[int, Field(ge=1)] = 8
    spectral_graph: Literal["mean", "each"] = "mean"
    edges: Edges = "cosine"
    bandwidth: Annotated[float, Field(gt=0)] = 1.0
    levels: Literal["last", "all"] = "last"
    masks: Literal["fgd", "relative", "none"] = "fgd"
    mask_temperature: Annotated[float, Field(gt=0)] = 0.5

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "vertex", "edge" and "spectral"."""
        return {"vertex": self.vertex, "edge": self.edge, "spectral": self.spectral}

    def build(self, context: MethodContext) -> LossModule:
        """One adapter a level, and the terms.

        Raises:
            UserError: if stages cannot be paired.
        """
        pairs = _levels(self, context.student, context.teachers[0])
        return _Terms(self, [(ours.shape[1], theirs.shape[1]) for ours, theirs in pairs])


def _levels(settings: SEKD, student: ModelOutput, teacher: ModelOutput) -> list[tuple[Tensor, Tensor]]:
    pairs = match_maps(student.feature_maps, teacher.feature_maps)
    return pairs if settings.levels == "all" else pairs[-1:]


class _Terms(LossModule):
    def __init__(self, loss: SEKD, channels: Sequence[tuple[int, int]]) -> None:
        super().__init__(loss)
        self._settings = loss
        self.adapters = nn.ModuleList(ConvNorm(*pair) for pair in channels)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs = _levels(self._settings, student, teachers[0])
        found = [
            self._level(adapter(ours), theirs) for adapter, (ours, theirs) in zip(self.adapters, pairs, strict=True)
        ]
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in self._settings.weights}

    def _level(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        settings = self._settings
        ours, theirs = to_common_size(student, teacher)
        masks = None
        # Batches come shuffled: their first images are as good as any.
        some = max(1, GRAPH_ENTRIES // theirs.shape[1] ** 2)
        with torch.no_grad():
            if settings.masks != "none":
                masks = attention_masks(theirs, settings.mask_temperature, relative=settings.masks == "relative")
            taught = channel_graph(theirs[:some], settings.edges, settings.bandwidth)
        learnt = channel_graph(ours[:some], settings.edges, settings.bandwidth)
        terms = {
            "vertex": vertex_difference(ours, theirs, masks),
            "edge": edge_difference(learnt, taught, masks and Masks(masks.places[:some], masks.channels[:some])),
        }
        if settings.spectral_graph == "mean":
            learnt, taught = learnt.mean(0, keepdim=True), taught.mean(0, keepdim=True)
        return {**terms, "spectral": spectral_difference(learnt, taught, settings.eigenpairs, settings.form)}

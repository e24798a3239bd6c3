"""Out-of-distribution detection: whether a network is less sure of pictures of other things than of its own."""

import torch
from torch import Tensor

from persistill.data import MemoryPictures, Pictures, load
from persistill.errors import UserError
from persistill.evaluation._checks import check_finite
from persistill.progress import Progress, Silent
from persistill.recipe import Data, Evaluate


def max_softmax(logits: Tensor) -> Tensor:
    """The largest probability: how sure a network is (Hendrycks and Gimpel, ICLR 2017).

    Args:
        logits: (N, K).

    Returns:
        (N,) float64 in [1/K, 1].
    """
    return logits.double().softmax(1).amax(1)


def negative_energy(logits: Tensor) -> Tensor:
    """``log sum_k exp(logits_k)``: large where a network has seen something like it (Liu et al., NeurIPS 2020).

    Args:
        logits: (N, K).

    Returns:
        (N,) float64.
    """
    return logits.double().logsumexp(1)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve: the chance that a score from inside is larger than one from outside, ties being half.

    Args:
        inside: (N,) scores that should be large.
        outside: (M,) scores that should be small.

    Returns:
        A fraction in [0, 1]; 1/2 for scores that tell nothing.

    Raises:
        UserError: if there are no scores on one side, or some are NaN.
    """
    if len(inside) == 0 or len(outside) == 0 or inside.isnan().any() or outside.isnan().any():
        raise UserError(
            "an AUROC needs scores from inside and from outside, and none of them NaN; "
            f"{len(inside)} and {len(outside)} were given."
        )
    ordered = outside.sort().values
    below, not_above = (torch.searchsorted(ordered, inside.contiguous(), right=right) for right in (False, True))
    return float((below + not_above).double().sum() / 2 / len(inside) / len(outside))


def ood_metrics(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """Both scores' AUROC.

    Args:
        inside: (N, K) logits of test pictures.
        outside: (M, K) logits of the other pictures.

    Returns:
        ``{"max_softmax": fraction, "energy": fraction}``.

    Raises:
        UserError: if logits are NaN or +inf.
    """
    for logits in (inside, outside):
        check_finite(logits)
    return {
        "max_softmax": auroc(max_softmax(inside), max_softmax(outside)),
        "energy": auroc(negative_energy(inside), negative_energy(outside)),
    }


def ood_pictures(evaluate: Evaluate, like: Pictures, progress: Progress | None = None) -> MemoryPictures | None:
    """Test pictures of another source, brought to the shape of a network's own.

    Args:
        evaluate: names the source, and how many pictures at most, drawn from a fixed seed.
        like: the network's own pictures; gray pictures get as many equal channels.
        progress: told how many pictures were read.

    Returns:
        The pictures; None where no source is named.

    Raises:
        UserError: if the source cannot be read, or its pictures have other channels than ``like``.
    """
    if evaluate.ood is None:
        return None
    channels, height, width = like.shape
    settings = Data(source=evaluate.ood, label=evaluate.ood_label, size=(height, width), grayscale=channels == 1)
    try:
        pictures = load(settings, progress or Silent()).test
    except UserError as error:
        said = str(error).replace("data.source", "evaluate.ood").replace("data.label", "evaluate.ood_label")
        raise UserError(f"evaluate.ood: {said}") from None
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))[: evaluate.ood_pictures]
    order = order.sort().values
    pixels = pictures.fetch(order)
    if pixels.shape[1] not in (1, channels):
        raise UserError(
            f"evaluate.ood: pictures of {evaluate.ood!r} have {pixels.shape[1]} channels, and the network sees "
            f"{channels}; choose another source."
        )
    chosen = pixels.expand(-1, channels, -1, -1).contiguous()
    return MemoryPictures(chosen, pictures.targets[order.to(pictures.device)])

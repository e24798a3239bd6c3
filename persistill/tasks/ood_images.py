"""Images of other things, which a network should be less sure of than of the test images."""

import torch

from persistill.config import Data, Evaluate
from persistill.data import ImageDataset, InMemoryDataset, load
from persistill.errors import UserError
from persistill.utils.progress import Progress, Silent
from persistill.utils.registry import named


def ood_images(evaluate: Evaluate, like: ImageDataset, progress: Progress | None = None) -> InMemoryDataset | None:
    """Test images of another source, brought to the shape of a network's own.

    Args:
        evaluate: names the source, and how many images at most, drawn from a fixed seed.
        like: the network's own images; gray images get as many equal channels.
        progress: told how many images were read.

    Returns:
        The images; None where no source is named.

    Raises:
        UserError: if the source cannot be read, or its images have other channels than ``like``.
    """
    if evaluate.ood is None:
        return None
    channels, height, width = like.shape
    settings = Data(source=evaluate.ood, label=evaluate.ood_label, size=(height, width), grayscale=channels == 1)
    try:
        images = load(settings, progress or Silent()).test
    except UserError as error:
        said = str(error).replace("data.source", "evaluate.ood").replace("data.label", "evaluate.ood_label")
        raise UserError(f"evaluate.ood: {said}") from None
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: evaluate.ood_images]
    order = order.sort().values
    pixels = images.fetch(order)
    if pixels.shape[1] not in (1, channels):
        raise UserError(
            f"evaluate.ood: images of {named(evaluate.ood)!r} have {pixels.shape[1]} channels, and the network sees "
            f"{channels}; choose another source."
        )
    chosen = pixels.expand(-1, channels, -1, -1).contiguous()
    return InMemoryDataset(chosen, images.targets[order.to(images.device)])

"""White-box adversarial attacks: FGSM and PGD, bounded in every value of every pixel.

Both are a dozen lines, and the libraries that have them were weighed: torchattacks pins an old release of requests,
Foolbox needs GitPython, and the Adversarial Robustness Toolbox moves every batch through NumPy. The tests hold them
against what can be worked out by hand.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.errors import UserError

LogitsFunction = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) in [0, 1] -> logits (B, K): a network with its normalization in front, in evaluation mode."""

PGD_STEPS = 10


def fgsm(model: LogitsFunction, images: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """The fast gradient sign method (Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples",
    ICLR 2015): one step of ``epsilon`` in every value, uphill in the cross-entropy of the right class.

    Args:
        model: the network.
        images: (B, C, H, W) in [0, 1].
        target: (B,) right classes.
        epsilon: largest change of a value, on the scale on which white is 1.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        UserError: if epsilon is negative or not finite.
    """
    _check(epsilon)
    return (images + epsilon * _gradient_sign(model, images, target)).clamp(0, 1)


def pgd(
    model: LogitsFunction, images: Tensor, target: Tensor, epsilon: float, *, steps: int = PGD_STEPS, seed: int = 0
) -> Tensor:
    """Projected gradient descent (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR
    2018): small steps uphill from a random start, kept within ``epsilon`` of the image.

    A step is ``2.5 epsilon / steps`` in every value, so that the path can reach the bound from any start, as Madry
    et al. choose it.

    Args:
        model: the network.
        images: (B, C, H, W) in [0, 1].
        target: (B,) right classes.
        epsilon: largest change of a value, on the scale on which white is 1.
        steps: how many.
        seed: draws the start, uniform within the bound, on the CPU: the same on every device.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        UserError: if epsilon is negative or not finite.
    """
    _check(epsilon)
    start = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))
    changed = (images + epsilon * (2 * start.to(images) - 1)).clamp(0, 1)
    for _ in range(steps):
        changed = changed + 2.5 * epsilon / steps * _gradient_sign(model, changed, target)
        changed = torch.clamp(changed, images - epsilon, images + epsilon).clamp(0, 1)
    return changed


def _gradient_sign(model: LogitsFunction, images: Tensor, target: Tensor) -> Tensor:
    with torch.enable_grad():
        moving = images.detach().clone().requires_grad_()
        # A sum, so that no image's gradient depends on how many others there are.
        loss = F.cross_entropy(model(moving), target, reduction="sum")
        return torch.autograd.grad(loss, moving)[0].sign()


def _check(epsilon: float) -> None:
    if not 0 <= epsilon <= 1:
        raise UserError(f"the largest change of a value must be a number from 0 to 1; {epsilon!r} was given.")

"""What a network of somebody's own returns in training and in evaluation: whether the two belong together."""

from typing import Any

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.detection.output import DetectionOutput
from persistill.models.feature_extraction.trace import BATCH
from persistill.models.feature_extraction.wrapper import AdaptedNetwork, find_logits
from persistill.structures import ModelOutput
from persistill.utils.nested_tensors import tensors_in
from persistill.utils.units import first_few

_ROUNDING = 1e-4


def probe_modes(network: Network, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Run a network on noise in both modes, and refuse what would be trained or measured wrongly without a word.

    Args:
        network: a fresh one on the CPU; its buffers change.
        shape: (C, H, W) of its images.

    Returns:
        What is worth knowing, a sentence each.

    Raises:
        UserError: if it returns probabilities in place of logits, if it fails or returns something else in training, or
            if parameters on which its logits depend in evaluation would not be trained.
    """
    parameters = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    with torch.random.fork_rng([]):
        images = torch.randn(BATCH, *shape)
        answer = network.eval()(images)
        if not isinstance(answer, ModelOutput) or isinstance(answer, DetectionOutput):
            return ()  # of a task with other outputs than logits; a detector needs objects in training
        in_evaluation, used = _run(network, images, parameters)
        try:
            in_training, trained = _run(network.train(), images, parameters)
        except UserError:
            raise
        except Exception as error:  # other people's code, which may raise anything
            said = str(error).strip().split("\n")[0][:300] or "without a message"
            raise UserError(
                f"{network.name!r} fails in training mode, on {BATCH} random images: {type(error).__name__}: {said}. "
                "In evaluation mode it does not."
            ) from error
    logits, learned = _logits(in_evaluation), _logits(in_training)
    _refuse_probabilities(network.name, logits, "evaluation")
    if learned is None or logits is None or learned.shape != logits.shape:
        raise UserError(
            f"{network.name!r} returns logits {_shape(logits)} in evaluation mode and {_shape(learned)} in training "
            "mode: both must be of one shape. Return the logits in both modes, and leave losses to the training here."
        )
    _refuse_probabilities(network.name, learned, "training")
    heads = sum(1 for one in tensors_in(in_training) if one.shape == learned.shape)
    if heads < 2 or isinstance(in_training, ModelOutput):
        return ()
    if lost := [name for name, _ in parameters if name in used and name not in trained]:
        raise UserError(
            f"{network.name!r} returns {heads} outputs of shape {_shape(learned)} in training mode, of which the first "
            f"is trained, and answers in evaluation mode with parameters that it does not depend on: "
            f"{first_few(lost)} would stay as they are. Return what evaluation returns in training, too, as "
            'a tensor or under the name "logits" (the mean of the heads, for example).'
        )
    said = (
        f"{network.name!r} returns {heads} outputs of shape {_shape(learned)} in training mode; the first is trained, "
        "and the others, which evaluation does not use, get no loss here."
    )
    return (said,)


def _run(network: Network, images: Tensor, parameters: list[tuple[str, nn.Parameter]]) -> tuple[Any, set[str]]:
    """What the module returns, and the names of the parameters on which its logits depend."""
    network(images)  # an adapted network sees that its layers are called
    output = (network.module if isinstance(network, AdaptedNetwork) else network)(images)
    logits = _logits(output)
    if logits is None or not logits.requires_grad or not parameters:
        return output, set()
    found = torch.autograd.grad(logits.sum(), [one for _, one in parameters], allow_unused=True)
    return output, {name for (name, _), gradient in zip(parameters, found, strict=True) if gradient is not None}


def _logits(output: Any) -> Tensor | None:
    return output.logits if isinstance(output, ModelOutput) else find_logits(output)


def _refuse_probabilities(name: str, logits: Tensor | None, mode: str) -> None:
    if logits is None or logits.ndim < 2:
        return
    values = logits.detach().float()
    sums = values.sum(1)
    if bool(((values >= 0) & (values <= 1)).all()) and bool(((sums - 1).abs() < _ROUNDING).all()):
        raise UserError(
            f"{name!r} returns probabilities in {mode} mode: all values for random images are in [0, 1] and add up to "
            "1, as after a softmax. Losses, calibration and exports need logits: take the softmax away."
        )


def _shape(tensor: Tensor | None) -> str:
    return "of no tensor" if tensor is None else str(tuple(tensor.shape))

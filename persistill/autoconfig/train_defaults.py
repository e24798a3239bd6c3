"""How a network is trained if nobody says how: short, and safe for the kind of network."""

from persistill.config import Train
from persistill.models import NAMES

_LARGE = 128 * 128
"""Pixels from which on batches are smaller."""
_USUAL_BATCH = 128
_STEPS = 10_000
_EPOCHS = 30, 100
_FEWER = 3
"""From trained weights, a network is where one from random weights comes in two to three times as many steps (He,
Girshick and Dollár 2019, "Rethinking ImageNet Pre-training", arXiv 1811.08883)."""
_SGD_SLOWER = 10
"""Common practice is a tenth of the rate from random weights (Li et al. 2020, "Rethinking the Hyperparameters for
Fine-tuning", arXiv 2002.11770): larger steps lose what the weights know."""
_ADAMW, _ADAMW_STARTED = 1e-3, 3e-4
"""AdamW moves each weight by about the rate, whatever the gradient. At a tenth, 1e-4, a small network with a fresh
classifier is not there yet after the few hundred steps that some hundred images give it."""


def choose_batch_size(images: int, size: tuple[int, int]) -> int:
    """128, or 64 for large images; less where an epoch would have fewer than eight steps. At least 2."""
    most = 64 if size[0] * size[1] >= _LARGE else _USUAL_BATCH
    wanted = min(most, max(8, images // 8))
    return max(2, min(1 << (wanted.bit_length() - 1), images))


def choose_epochs(steps: int, *, started: bool = False) -> int:
    """About 10,000 steps, in 30 to 100 epochs; a third of that from trained weights.

    Args:
        steps: in an epoch.
        started: whether the network starts from trained weights.
    """
    least, most = _EPOCHS
    wanted = max(least, min(most, _STEPS // max(1, steps)))
    return wanted // _FEWER if started else wanted


def choose_training(
    model: str,
    *,
    epochs: int,
    batch_size: int,
    lr: float | None,
    augment: tuple[str, ...],
    size: tuple[int, int],
    started: bool = False,
    own_rates: bool = True,
) -> Train:
    """One cycle of the learning rate, by SGD for our own networks, by AdamW for those of others.

    AdamW because it trains convolutional networks and transformers alike; our own have the rates of RepDistiller, 0.1
    a batch of 128, and 0.02 for the MobileNet and the ShuffleNets. From trained weights, a tenth of these, and 0.0003
    in place of 0.001 of AdamW.

    Args:
        model: the network's name.
        epochs: how long.
        batch_size: by which the rate of SGD is scaled.
        lr: peak rate, if it is stated.
        augment: crops and flips.
        size: height and width of the images; crops move by an eighth of the shorter side.
        started: whether the network starts from trained weights.
        own_rates: whether our own networks are trained by SGD; AdamW is for all where they are parts of others.
    """
    ours = own_rates and model in NAMES
    rate = 0.02 if model.startswith(("mobilenet", "shufflenet")) else 0.1
    if ours:
        usual = rate * batch_size / _USUAL_BATCH / (_SGD_SLOWER if started else 1)
    else:
        usual = _ADAMW_STARTED if started else _ADAMW
    return Train(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="sgd" if ours else "adamw",
        lr=float(f"{usual:.2g}") if lr is None else lr,
        nesterov=ours,
        weight_decay=5e-4 if ours else 0.05,
        schedule="one-cycle",
        augment=augment,
        crop_padding=max(1, round(min(size) / 8)) if "crop" in augment else 4,
        clip_norm=None if ours else 1.0,
        channels_last=True,
    )

"""How a network is trained, and how it is trained on for 8 bits."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from persistill.config.fields import Named, Positive, Weight
from persistill.settings import Settings

Compile = Literal["off", "default", "reduce-overhead", "max-autotune"]
"""Modes of ``torch.compile``, or none."""


class Train(Settings):
    """How a network is trained.

    Attributes:
        optimizer: "sgd", "adamw", "torch.optim:NAME", or one of your own (see ``training.OPTIMIZERS``).
        schedule: of the learning rate: "constant", "step", "cosine", "one-cycle", or one of your own, called with
            (settings, step, steps_per_epoch).
        milestones: epochs after which the step schedule multiplies the learning rate by ``gamma``.
        warmup_epochs: epochs of linear warm-up before the schedule (one-cycle: the share that rises).
        augment: "crop" (random, padded by ``crop_padding``) and "flip" (left and right), in batch on the device, and
            any of your own after them (see ``data.AUGMENTATIONS``).
        crop_size: (height, width) of the crops; None for those of the images. Only networks that take images of any
            size can be trained on smaller ones.
        precision: of forward and backward passes; losses are computed in fp32 whatever it is.
        clip_norm: largest norm of the gradient; None for no limit.
        label_smoothing: share of the target that is spread over all classes in the cross-entropy.
        channels_last: keep images and feature maps as (B, H, W, C) in memory, which most convolutions prefer.
        compile: networks by ``torch.compile`` while they learn or teach: "off", or its mode "default",
            "reduce-overhead" (on an NVIDIA GPU with CUDA graphs, for small networks) or "max-autotune" (also tries
            which kernels are fastest). Sums are rounded otherwise, and dropout draws other numbers.
        accumulate: parts in which a batch is taken, one after the other, so that less memory is needed. The update is
            that of the whole batch, but for what a BatchNorm or a dropout does: the one sees the parts, the other draws
            for each.
        sync_batchnorm: on several devices, normalize by mean and variance of the whole batch instead of each device's
            images; needed for the numbers of one device.
    """

    epochs: Positive = 200
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Named = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Weight = 1e-4
    schedule: Named = "step"
    milestones: tuple[Positive, ...] = (40, 80, 120, 160)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Weight = 0.0
    augment: tuple[Named, ...] = ()
    crop_padding: Positive = 4
    crop_size: tuple[Positive, Positive] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    channels_last: bool = False
    compile: Compile = "off"
    accumulate: Positive = 1
    sync_batchnorm: bool = True

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``compile``, ``accumulate`` and ``sync_batchnorm`` are left out where they are the
        default, as before there were such fields.
        """
        defaults = (("compile", "off"), ("accumulate", 1), ("sync_batchnorm", True))
        return {name: value for name, value in super().to_json().items() if (name, value) not in defaults}

    @model_validator(mode="after")
    def _parts_hold_images(self) -> Self:
        if 2 * self.accumulate > self.batch_size and self.accumulate > 1:
            raise ValueError(
                f"accumulate={self.accumulate} takes a batch in so many parts, each of two images at least, and a "
                f"batch has {self.batch_size} (batch_size): it can be {self.batch_size // 2} at most."
            )
        return self

    @model_validator(mode="after")
    def _crop_size_needs_crops(self) -> Self:
        if self.crop_size is not None and "crop" not in self.augment:
            raise ValueError(f'crop_size={self.crop_size} is the size of crops: add "crop" to augment.')
        return self


class Quantize(Settings):
    """How the exported student is trained on before it is rounded to 8 bits (quantization-aware training).

    A copy of it goes on learning what its arm learns, from the same teachers, with weights and activations rounded as
    the int8 file will round them. The int8 file is made of this copy, all other files of the student itself. Where not
    stated here, training is that of the arm; the learning rate falls from its first value to 0 as half a cosine, so
    that weights come to rest on one side of a step. Parts of methods that learn begin anew. It is not compiled.

    Attributes:
        epochs: how long.
        rate: first learning rate, as a share of the peak learning rate of the student's training.
    """

    epochs: Positive = 2
    rate: Annotated[float, Field(gt=0, le=1)] = 0.01

    def training(self, train: Train) -> Train:
        """The settings of a training, changed as said here."""
        changes = {"epochs": self.epochs, "lr": self.rate * train.lr, "schedule": "cosine", "warmup_epochs": 0.0}
        changes |= {"compile": "off"}
        return train.model_copy(update=changes)

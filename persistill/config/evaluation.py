"""What is measured on the test images, and the published figures beside which it is set."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from persistill.config.fields import Named, Positive, Share
from persistill.settings import Settings


class Evaluate(Settings):
    """What is measured on the test images, once, at the end.

    Attributes:
        noise: standard deviations of Gaussian noise added to images in [0, 1].
        noise_seed: draws noise and corruptions, the same for every network.
        ece_bins: bins of the calibration errors.
        batch_size: images that a network is asked about at a time.
        embeddings: test images whose embedding is kept.
        attacks: strengths of FGSM and PGD, the largest change of a value in 255ths; empty for none.
        attack_images: test images that are attacked.
        ood: a source of images of other things, named as ``Data.source``, that confidence should tell from the test
            images; None for none.
        ood_label: as ``Data.label``, for a source where more than one column can hold the class.
        ood_images: how many of them are shown.
        corruptions: what images are corrupted by, at five severities: names, "standard" for the fifteen that make the
            mean corruption error, "all" for these and four more, or your own, called with
            (images, severity); empty for none.
        corruption_images: test images that are corrupted.
        evaluators: what else is measured, by code of your own, called with (network, loader).
    """

    noise: tuple[Annotated[float, Field(gt=0)], ...] = (0.02, 0.04, 0.08)
    noise_seed: int = 0
    ece_bins: Positive = 15
    batch_size: Positive = 500
    embeddings: Positive = 2000
    attacks: tuple[Annotated[float, Field(gt=0, le=255)], ...] = (2.0, 8.0)
    attack_images: Positive = 500
    ood: Named | None = None
    ood_label: str | None = None
    ood_images: Positive = 10_000
    corruptions: tuple[Named, ...] = ("standard",)
    corruption_images: Positive = 1000
    evaluators: tuple[Named, ...] = ()

    @field_validator("corruptions", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        """A name alone, as it is typed on a command line, stands for itself."""
        return value if isinstance(value, tuple | list) else (value,)


class Published(Settings):
    """Published figures beside which a recipe's own are to be set, and what keeps the two apart.

    Attributes:
        source: paper, table or log, with an address.
        accuracies: arm or teacher -> top-1 accuracy on the test images, 0 to 1.
        chosen: how the epoch was chosen: "last epoch", "best of 200 epochs, chosen on the test images".
        differences: of protocol between the publication and this recipe, a sentence each.
    """

    source: str
    accuracies: Annotated[dict[str, Share], Field(min_length=1)]
    chosen: str
    differences: tuple[str, ...] = ()

"""What is measured on the test images, and the published figures beside which it is set."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from persistill.config.fields import Named, Positive, Share
from persistill.settings import Settings

_ATTACKED, _CORRUPTED = (300, 10, 500), (150, 15, 1000)
"""Of how many images that a training sees one is attacked, or corrupted; no fewer in all, and no more.

A corrupted image is answered 75 times and an attacked one 72 times; to train on an image costs about three answers. So
robustness takes about a quarter of the time of a plain training that sees up to 150,000 images, and less of a longer
one."""


class Evaluate(Settings):
    """What is measured on the test images, once, at the end.

    Attributes:
        noise: standard deviations of Gaussian noise added to images in [0, 1].
        noise_seed: draws noise and corruptions, the same for every network.
        ece_bins: bins of the calibration errors.
        batch_size: images that a network is asked about at a time.
        embeddings: test images whose embedding is kept.
        attacks: strengths of FGSM and PGD, the largest change of a value in 255ths; empty for none.
        attack_images: test images that are attacked; None for as many as suit the training (``sized``), at
            most 500.
        ood: a source of images of other things, named as ``Data.source``, that confidence should tell from the test
            images; None for none.
        ood_label: as ``Data.label``, for a source where more than one column can hold the class.
        ood_images: how many of them are shown.
        corruptions: what images are corrupted by, at five severities: names, "standard" for the fifteen that make the
            mean corruption error, "all" for these and four more, or your own, called with
            (images, severity); empty for none.
        corruption_images: test images that are corrupted; None for as many as suit the training, at most 1,000.
        similarity: say how alike students and their teachers are, from what both answered.
        evaluators: what else is measured, by code of your own, called with (network, loader).
    """

    noise: tuple[Annotated[float, Field(gt=0)], ...] = (0.02, 0.04, 0.08)
    noise_seed: int = 0
    ece_bins: Annotated[int, Field(ge=1, le=10_000)] = 15
    batch_size: Positive = 500
    embeddings: Positive = 2000
    attacks: tuple[Annotated[float, Field(gt=0, le=255)], ...] = (2.0, 8.0)
    attack_images: Positive | None = None
    ood: Named | None = None
    ood_label: str | None = None
    ood_images: Positive = 10_000
    corruptions: tuple[Named, ...] = ("standard",)
    corruption_images: Positive | None = None
    similarity: bool = True
    evaluators: tuple[Named, ...] = ()

    @property
    def attacked(self) -> int:
        """Test images that are attacked, all of them where the number is left open."""
        return _ATTACKED[2] if self.attack_images is None else self.attack_images

    @property
    def corrupted(self) -> int:
        """Test images that are corrupted, likewise."""
        return _CORRUPTED[2] if self.corruption_images is None else self.corruption_images

    def sized(self, seen: int | None) -> Self:
        """The same settings with the numbers of images chosen that are left open, in proportion to a training.

        Args:
            seen: images that the training sees in all its epochs; None for the full numbers.
        """

        def chosen(part: int, least: int, most: int) -> int:
            return most if seen is None else max(least, min(most, seen // part))

        return self.model_copy(
            update={
                "attack_images": self.attack_images or chosen(*_ATTACKED),
                "corruption_images": self.corruption_images or chosen(*_CORRUPTED),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``similarity`` is left out where it is True, as before there was such a field."""
        return {name: value for name, value in super().to_json().items() if (name, value) != ("similarity", True)}

    @field_validator("corruptions", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        """A name alone, as it is typed on a command line, stands for itself."""
        return value if isinstance(value, tuple | list) else (value,)


class Published(Settings):
    """Published figures beside which a recipe's own are to be set, and what keeps the two apart.

    Attributes:
        source: paper, table or log, with an address.
        figures: arm or teacher -> the task's one figure on the test images (accuracy, mIoU, AP), 0 to 1.
        chosen: how the epoch was chosen: "last epoch", "best of 200 epochs, chosen on the test images".
        differences: of protocol between the publication and this recipe, a sentence each.
    """

    source: str
    figures: Annotated[dict[str, Share], Field(min_length=1)]
    chosen: str
    differences: tuple[str, ...] = ()

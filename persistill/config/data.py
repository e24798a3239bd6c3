"""Which images a recipe is about, and how they are split and read."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from persistill.config.fields import Named, Positive, Share
from persistill.settings import Settings
from persistill.utils.registry import named

LARGEST_SIZE = 2**26
"""Pixels of images that networks are trained on."""


class Data(Settings):
    """Which images, and how they are split. All splits are drawn from ``split_seed``, class-balanced where an image has
    one class.

    Attributes:
        source: "digits" (ships with scikit-learn), a hub name ("uoft-cs/cifar10"), a folder of class folders, or a
            folder of Parquet files in the Hugging Face image layout, tar files in the layout of WebDataset (a folder of
            them, or "train-{000..009}.tar"), an .npz file in the layout of MedMNIST, the URL of tar or Parquet files
            ("s3://bucket/train-{000..146}.tar", "hf://datasets/owner/name"), or your own (see ``data.SOURCES``).
            For segmentation: a folder with ``images`` and ``masks``, Parquet files or a hub name with a column of
            masks.
        labels: a CSV file of file names and classes, in the folder ``source`` or elsewhere; None to take class folders,
            or the only CSV file of a folder that has none.
        train: number of training images before validation is taken from them; None for all.
        validation: how many of these are kept for choosing.
        test: number of test images (None: all of the source's test split); for a source without one, how many
            images are taken from the training images for it, by default a fifth.
        split_seed: draws the splits.
        size: (height, width) to which images are brought; None if they all have one size already.
        resize: how: "crop" scales an image until it covers the frame and cuts its center out, "squash" changes its
            proportions, and "letterbox" scales it until it fits into the frame and pads it with black.
        range: the values of images of more than 8 bits that become black and white: (low, high); "full" for 0 and
            65535; "measured" for the smallest and the largest value of the training images.
        grayscale: read images with one channel.
        mean: channel means for normalization, images in [0, 1]; None for those that go with the networks' initial
            weights, or else to measure them on training images.
        std: channel standard deviations, likewise.
        skip_unreadable: go on without images that cannot be read, after naming and counting them.
        duplicates: what to do about images that are equal, pixel for pixel, in two splits or with two targets: "warn",
            "refuse", or "drop" the training image where the other is a validation or test image, the validation image
            where the other is a test image, and all training images of two classes.
        label: column of a Parquet, hub or CSV source, or key of the JSON files in tar files, that holds the class or
            the mask; None if there is only one that can.
        parquet: how a folder of Parquet files, or a data set of the hub, is read: "copied", through a copy of its
            images in the cache of ``datasets``, from which any is read at once; or "in_place", where they lie, a row
            group at a time, as those behind URLs always are. The order of training then goes by row groups, unless all
            of them fit into memory.
        cache: "resized" decodes images that do not fit into memory once, brings them to the size of training and keeps
            them so, beside the run folders: no epoch costs decoding. "off" decodes them in every epoch. Pixels and
            results are the same, bit for bit.
        ignore: value of the pixels of a mask that have no class; neither losses nor metrics count them.
    """

    source: Named
    labels: str | None = None
    train: Positive | None = None
    validation: Positive | Share = 0.1
    test: Positive | None = None
    split_seed: int = 0
    size: tuple[Positive, Positive] | None = None
    resize: Literal["crop", "squash", "letterbox"] = "crop"
    range: Literal["full", "measured"] | tuple[float, float] = "full"
    grayscale: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    skip_unreadable: bool = False
    duplicates: Literal["warn", "drop", "refuse"] = "warn"
    label: str | None = None
    parquet: Literal["copied", "in_place"] = "copied"
    cache: Literal["off", "resized"] = "off"
    ignore: Annotated[int, Field(ge=0, le=255)] = 255

    @field_validator("range")
    @classmethod
    def _rises(cls, value: Literal["full", "measured"] | tuple[float, float]) -> object:
        if isinstance(value, tuple) and value[0] >= value[1]:
            raise ValueError(f"must be (low, high), the lower value first; {value} was given.")
        return value

    @field_validator("size")
    @classmethod
    def _fits_into_memory(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[0] * value[1] > LARGEST_SIZE:
            raise ValueError(f"must be at most {LARGEST_SIZE:,} pixels, as 8192 x 8192; {value} was given.")
        return value

    @property
    def where(self) -> str:
        """What to call the source in messages."""
        return named(self.source)

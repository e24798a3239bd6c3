"""What `persistill topology` was asked for, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from persistill.extraction.window import WindowShare
from persistill.topology import PersistenceImageConfig
from persistill.topology.persistence_image.fields import SCANS, Scan


@dataclass(frozen=True)
class Wishes:
    """What the user asked for.

    Attributes:
        to: what images become.
        scans: how they are read.
        preset: "fitted" fits window, bandwidth and scale to the images, "tgd" takes those of the TGD paper's code.
        given: settings that differ from the preset's, by their names in ``PersistenceImageConfig``.
        dtype: of stored persistence images.
        levels: (low, high, count) of Betti curves.
        min_persistence: of diagrams and curves.
        grayscale: read images with one channel.
        skip_unreadable: go on without images that cannot be read.
        explain: an image to draw with its bars, diagram and persistence image.
        channel: its channel.
        threads: how many threads.
        images_per_shard: how many images a shard holds; None for results in one file, or as ``sharded`` says.
        sharded: whether results are to lie in shards, of as many images as seems good.
    """

    to: Literal["images", "diagrams", "curves"] = "images"
    scans: tuple[Scan, ...] = SCANS.default
    preset: Literal["fitted", "tgd"] = "fitted"
    given: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    levels: tuple[float, float, int] = (0.0, 1.0, 64)
    min_persistence: float = 0.0
    grayscale: bool = False
    skip_unreadable: bool = False
    explain: str | None = None
    channel: int = 0
    threads: int = 1
    images_per_shard: int | None = None
    sharded: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        files: what was written and what each is, the result first.
        images: how many images the source has.
        channels: of each.
        gray: how many of them were read as RGB though they have no color.
        skipped: (name, why) of images left out.
        damaged: shards that had changed, and were made again: what was wrong of each.
        before: whether the result was there already.
        values: the least and the largest value of the images that were looked at, as they are stored.
        floats: whether these are floating point numbers.
        settings: of the persistence images.
        share: how much of the bars their window holds; None for diagrams and curves.
    """

    files: tuple[tuple[Path, str], ...]
    images: int
    channels: int
    gray: int
    skipped: tuple[tuple[str, str], ...]
    damaged: tuple[str, ...]
    before: bool
    values: tuple[float, float]
    floats: bool
    settings: PersistenceImageConfig
    share: WindowShare | None

"""What images can become: persistence images, diagrams or Betti curves, each written as it grows."""

import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from persistill.extraction.growing_files import GrowingFiles
from persistill.topology import Diagrams, PersistenceImageConfig, scan_persistence_images, sublevel_persistence
from persistill.topology.persistence_image.fields import Scan
from persistill.topology.scans import SCANS
from persistill.topology.vectorization.betti_curves import betti_curves
from persistill.utils.atomic_io import atomic

_OUTPUT = 1 << 25  # bytes of results in memory
_COUNTS = 1 << 20  # diagrams whose bounds are added up at once

Pixels = npt.NDArray[Any]


class Output(Protocol):
    """One thing that images can become: computed and written chunk by chunk.

    Attributes:
        title: what they are called.
        result: the file that they lie in.
        files: names of the files that grow.
        keep: those of them that are results.
        samples: how many samples of images are dealt with at once.
        images: how many images at most.
    """

    title: str
    result: str
    files: tuple[str, ...]
    keep: tuple[str, ...]
    samples: int
    images: int

    def parameters(self) -> dict[str, Any]:
        """All that the results depend on, plain JSON."""

    def write(self, images: Sequence[Pixels], writer: GrowingFiles) -> Mapping[str, int]:
        """Append the results of images (C, H, W), of any sizes; gives numbers to tell them with."""

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of the results of so many images."""

    def finish(self, writer: GrowingFiles) -> None:
        """Bring the files that have grown into their last form."""


class ScanConfig(NamedTuple):
    """How images are read.

    Attributes:
        scans: each turns a channel into a signal.
        channels: of every image.
        threads: how many threads.
    """

    scans: tuple[Scan, ...]
    channels: int
    threads: int

    @property
    def signals(self) -> int:
        """Signals that one image becomes."""
        return len(self.scans) * self.channels

    def diagrams(self, images: Pixels, min_persistence: float, *, essential: bool = False) -> Diagrams[Pixels]:
        """Diagrams of shape (B, scans, C) of images (B, C, H, W), values as they are stored in the images.

        Args:
            images: of one size.
            min_persistence: bars must be longer; of 8-bit images in units of 255 levels.
            essential: whether to keep the class that never dies.
        """
        signals = np.stack([SCANS[scan](images) for scan in self.scans], axis=1)
        least = min_persistence * 255 if images.dtype == np.uint8 else min_persistence
        return sublevel_persistence(signals, min_persistence=least, essential=essential, threads=self.threads)


class PersistenceImageOutput:
    """Persistence images, (N, scans * C, rows, columns)."""

    title = "persistence images"
    result = "persistence_images.npy"
    files: tuple[str, ...] = (result,)
    keep: tuple[str, ...] = (result,)
    samples = 1 << 23

    def __init__(self, scan_config: ScanConfig, settings: PersistenceImageConfig, dtype: str) -> None:
        self._scan_config = scan_config
        self._settings = settings
        self._dtype = np.dtype(dtype)
        self._shape = (scan_config.signals, *settings.pixels)
        self.images = max(1, _OUTPUT // (4 * int(np.prod(self._shape))))

    def parameters(self) -> dict[str, Any]:
        """Settings and dtype."""
        return {"settings": self._settings.to_json(), "dtype": self._dtype.name}

    def write(self, images: Sequence[Pixels], writer: GrowingFiles) -> Mapping[str, int]:
        """Append persistence images."""
        drawn = np.empty((len(images), *self._shape), np.uint8 if self._dtype == np.uint8 else np.float32)
        for places, block in _by_size(images):
            out = np.empty((len(block), *self._shape), drawn.dtype)
            scan_persistence_images(
                block, self._settings, scans=self._scan_config.scans, threads=self._scan_config.threads, out=out
            )
            drawn[places] = out
        _append_array(writer, self.result, drawn.astype(self._dtype, copy=False))
        return {}

    def shape(self, rows: int) -> tuple[int, ...]:
        """(N, scans * C, rows, columns)."""
        return rows, *self._shape

    def finish(self, writer: GrowingFiles) -> None:
        """Write the number of images into the header."""
        writer.begin_with(self.result, _header(self.shape(writer.reached.rows), self._dtype))


class BettiCurveOutput:
    """Betti curves, (N, scans * C, steps): how many components there are at each level."""

    title = "Betti curves"
    result = "betti_curves.npy"
    files: tuple[str, ...] = (result,)
    keep: tuple[str, ...] = (result,)
    samples = 1 << 22

    def __init__(self, scan_config: ScanConfig, levels: tuple[float, float, int], min_persistence: float) -> None:
        self._scan_config = scan_config
        self._levels = levels
        self._min_persistence = min_persistence
        self._shape = (scan_config.signals, levels[2])
        self.images = max(1, _OUTPUT // (4 * int(np.prod(self._shape))))

    def parameters(self) -> dict[str, Any]:
        """Levels and shortest bar."""
        return {"levels": list(self._levels), "min_persistence": self._min_persistence}

    def write(self, images: Sequence[Pixels], writer: GrowingFiles) -> Mapping[str, int]:
        """Append curves."""
        grid = np.linspace(*self._levels)
        curves = np.empty((len(images), *self._shape), np.float32)
        for places, block in _by_size(images):
            found = self._scan_config.diagrams(block, self._min_persistence, essential=True)
            drawn = betti_curves(found, grid)
            curves[places] = drawn.reshape(len(block), *self._shape)
        _append_array(writer, self.result, curves)
        return {}

    def shape(self, rows: int) -> tuple[int, ...]:
        """(N, scans * C, steps)."""
        return rows, *self._shape

    def finish(self, writer: GrowingFiles) -> None:
        """Write the number of curves into the header."""
        writer.begin_with(self.result, _header(self.shape(writer.reached.rows), np.dtype(np.float32)))


class DiagramOutput:
    """Persistence diagrams in the file format of ``topology.layouts.save_diagrams``, of shape (N, scans * C)."""

    title = "diagrams"
    result = "diagrams.npz"
    files: tuple[str, ...] = ("diagrams.values", "diagrams.counts")
    keep: tuple[str, ...] = ()
    samples = 1 << 22
    images = 1 << 12

    def __init__(self, scan_config: ScanConfig, dtype: np.dtype[Any], min_persistence: float) -> None:
        self._scan_config = scan_config
        self._dtype = dtype
        self._min_persistence = min_persistence

    def parameters(self) -> dict[str, Any]:
        """Shortest bar."""
        return {"min_persistence": self._min_persistence}

    def write(self, images: Sequence[Pixels], writer: GrowingFiles) -> Mapping[str, int]:
        """Append points and their numbers; tells how many points there are."""
        values: list[Pixels] = [np.empty((0, 2), self._dtype)] * len(images)
        counts = np.empty((len(images), self._scan_config.signals), np.int64)
        for places, block in _by_size(images):
            found = self._scan_config.diagrams(block, self._min_persistence)
            counts[places] = np.diff(found.offsets).reshape(len(block), -1)
            bounds = found.offsets[:: self._scan_config.signals]
            for k, place in enumerate(places):
                values[place] = found.values[bounds[k] : bounds[k + 1]]
        points = np.concatenate([np.empty((0, 2), self._dtype), *values])
        writer.append(self.files[0], points.tobytes())
        writer.append(self.files[1], counts.tobytes())
        return {"points": len(points)}

    def shape(self, rows: int) -> tuple[int, ...]:
        """(N, scans * C)."""
        return rows, self._scan_config.signals

    def finish(self, writer: GrowingFiles) -> None:
        """Put points and bounds into one file."""
        shape = self.shape(writer.reached.rows)
        points, total = writer.reached.tally.get("points", 0), shape[0] * shape[1]
        paths = [writer.path(name) for name in self.files]
        with atomic(writer.folder / self.result) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            with archive.open("values.npy", "w", force_zip64=True) as member, paths[0].open("rb") as source:
                member.write(_header((points, 2), self._dtype))
                shutil.copyfileobj(source, member, 1 << 20)
            with archive.open("offsets.npy", "w", force_zip64=True) as member, paths[1].open("rb") as source:
                member.write(_header((total + 1,), np.dtype(np.int64)))
                last = np.zeros(1, np.int64)
                member.write(last.tobytes())
                while len(counts := np.fromfile(source, np.int64, _COUNTS)):
                    bounds = last + np.cumsum(counts)
                    member.write(bounds.tobytes())
                    last = bounds[-1:]
            for name, array in (("shape", np.array(shape, np.int64)), ("dimension", np.array(0, np.int64))):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array)


def _by_size(images: Sequence[Pixels]) -> Iterator[tuple[list[int], Pixels]]:
    """Images of one size at a time: their places, and (k, C, H, W)."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    for found in places.values():
        yield found, np.stack([images[place] for place in found])


def _append_array(writer: GrowingFiles, file: str, array: npt.NDArray[Any]) -> None:
    if writer.reached.sizes[file] == 0:
        writer.append(file, _header((0, *array.shape[1:]), array.dtype))
    writer.append(file, array.data)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of an .npy file; it is as long for any number of rows, so that it can be written over."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()

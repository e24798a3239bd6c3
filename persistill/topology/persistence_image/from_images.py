"""From images straight to persistence images, a few images at a time: no diagram of the whole batch is kept."""

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_dtype, on_cpu, require_finite
from persistill.topology._dispatch import on_gpu
from persistill.topology._eager import eager
from persistill.topology._numba.llvm_vectors import LANES, WIDTH
from persistill.topology._numba.persistence_image_exact import SCALINGS
from persistill.topology._numba.persistence_image_float32 import render_planes
from persistill.topology._numba.persistence_image_uint8 import GROUP, PANEL, render_uint8
from persistill.topology._numba.persistence_image_uint8_tails import render_uint8_tails
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Diagrams
from persistill.topology.homology.sublevel_1d import sublevel_persistence
from persistill.topology.persistence_image import fields
from persistill.topology.persistence_image._tables import CUT, kernel_settings, uint8_tables
from persistill.topology.persistence_image.config import PersistenceImageConfig, require_config
from persistill.topology.persistence_image.fields import Scan
from persistill.topology.persistence_image.from_diagrams import persistence_images
from persistill.topology.scans import SCANS

_LEAST_SCALE = 1e-3  # a logarithm that starts lower would show what the tables of levels leave out


@overload
def scan_persistence_images(
    images: NDArray[Any],
    config: PersistenceImageConfig,
    *,
    scans: Sequence[Scan] = fields.SCANS.default,
    threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]: ...
@overload
def scan_persistence_images(
    images: Tensor,
    config: PersistenceImageConfig,
    *,
    scans: Sequence[Scan] = fields.SCANS.default,
    threads: int | None = None,
    out: Tensor | None = None,
) -> Tensor: ...
@eager
def scan_persistence_images(
    images: Any,
    config: PersistenceImageConfig,
    *,
    scans: Sequence[Scan] = fields.SCANS.default,
    threads: int | None = None,
    out: Any = None,
) -> Any:
    """Persistence images of every channel of every image, read as 1-D signals.

    Each scan turns a channel into a signal, the signal's sublevel persistence (H0, without the class that never
    dies) becomes a persistence image. The same as ``persistence_images(sublevel_persistence(rows(images)), config)``
    and so on, without the diagrams in between. Where ``images`` require gradients, the persistence images carry them;
    that is a slower path, through diagrams.

    Args:
        images: (B, C, H, W), uint8, or float32 or float64 (usually in [0, 1], as the published windows expect).
        config: how diagrams become persistence images.
        scans: "rows" and "columns" (of the true transpose), in the order of the output.
        threads: how many threads; None for torch's number.
        out: where to write, float32 or uint8, C-contiguous, of the shape of the result; uint8 holds
            floor(255 * value), the cast of the TGD paper's code, and wants ``scaling="max"``. None for
            a new float32 array, and where gradients are followed.

    Returns:
        (B, len(scans) * C, rows, columns): all channels of the first scan, then all of the second. A NumPy array or
        a torch tensor like ``images``.

        Tensors on a GPU are worked on there, and the host does not wait (once the tables for a configuration
        are there): ``out`` must be there too, and NaN and infinities are not looked for but give
        persistence images of NaN.

    Raises:
        TypeError: if ``images`` or ``out`` is no array or tensor of these dtypes.
        ValueError: if a shape, a scan or a value is not allowed; NaN and infinities are named by their index.
    """
    checked_dtype(images, "images", ("uint8", "float32", "float64"))
    shape = tuple(images.shape)
    if len(shape) != 4 or 0 in shape[1:]:
        raise ValueError(f"images must have shape (B, C, H, W) with no side 0; got {shape}.")
    require_config(config)
    listed = isinstance(scans, Sequence) and not isinstance(scans, str)
    if not listed or not scans or any(scan not in SCANS for scan in scans):
        raise ValueError(f"scans must be one or more of {', '.join(map(repr, SCANS))}; got {scans!r}.")
    tracked = isinstance(images, Tensor) and images.requires_grad and torch.is_grad_enabled()
    if tracked and out is not None:
        raise ValueError("out must be None for images that require gradients; detach() them to do without.")
    if on_gpu(images) and tracked and len(images):
        from persistill.topology._triton import persistence_image_autograd as triton_autograd  # noqa: PLC0415  (Triton need not be there)

        return triton_autograd.scan_persistence_images(images, config, scans)
    if on_gpu(images):
        from persistill.topology._triton import persistence_image as triton_kernels  # noqa: PLC0415  (Triton need not be there)

        return triton_kernels.scan_persistence_images(images, config, scans, out)
    data = on_cpu(images)
    require_finite(data, "images")
    if tracked:
        return torch.cat([_differentiable(images, scan, config, threads) for scan in scans], 1)
    shape = (len(data), len(scans) * data.shape[1], *config.pixels)
    target = _output(out, shape, config)

    pixels, flat = np.ascontiguousarray(data), target.reshape(*shape[:2], math.prod(shape[2:]))
    if data.dtype == np.uint8 and config.scale >= _LEAST_SCALE:
        _render_uint8(pixels, config, scans, flat, checked_threads(threads))
    else:
        pixels = pixels / 255.0 if data.dtype == np.uint8 else pixels
        _render_floats(pixels, config, scans, flat, checked_threads(threads))
    if not isinstance(images, Tensor):
        return target
    return torch.from_numpy(target).to(images.device) if out is None else out


def _differentiable(images: Any, scan: Scan, config: PersistenceImageConfig, threads: int | None) -> Tensor:
    """Persistence images (B, C, rows, columns) by one scan of images (B, C, H, W) that require gradients."""
    signals: Any = SCANS[scan](images)
    diagrams: Diagrams[Tensor] = sublevel_persistence(
        signals, min_persistence=config.min_persistence, indices=False, threads=threads
    )
    return persistence_images(diagrams, config, threads=threads)


def _render_uint8(
    images: NDArray[np.uint8], config: PersistenceImageConfig, scans: Sequence[Scan], out: NDArray[Any], threads: int
) -> None:
    count, channels, height, width = images.shape
    planes = images.reshape(count * channels, height * width)
    tables = uint8_tables(config, GROUP, PANEL * WIDTH)
    by_columns = np.array([scan == "columns" for scan in scans])
    # What the tables leave out of a persistence image is below this; 1e-7 of its maximum is allowed.
    omitted = (height * width // 2 + 1) * CUT * max(float(tables.columns.max()), float(tables.rows.max()))

    full = 255.0 if out.dtype == np.uint8 else 1.0

    def work(start: int, stop: int) -> None:
        left = np.empty(((stop - start) * len(scans), 2), np.int64)
        unfinished = render_uint8(
            planes[start:stop],
            start,
            channels,
            height,
            width,
            by_columns,
            tables.columns,
            tables.rows,
            tables.groups,
            config.pixels,
            tables.threshold,
            tables.limit,
            tables.longest,
            omitted * 1e7,
            SCALINGS[config.scaling],
            config.scale,
            full,
            out,
            left,
        )
        if unfinished:
            render_uint8_tails(
                planes[start:stop],
                left[:unfinished],
                start,
                channels,
                height,
                width,
                by_columns,
                tables.threshold,
                tables.exact_columns,
                tables.exact_rows,
                tables.column_distances,
                tables.row_distances,
                tables.column_spans,
                tables.row_spans,
                tables.weights,
                full,
                out,
            )

    # Tails are rare, and worth collecting.
    map_blocks(work, len(planes), LANES * max(1, min(16, len(planes) // (4 * threads * LANES))), threads)


def _render_floats(
    images: NDArray[Any], config: PersistenceImageConfig, scans: Sequence[Scan], out: NDArray[Any], threads: int
) -> None:
    count, channels, height, width = images.shape
    planes = images.reshape(count * channels, height * width)
    by_columns = np.array([scan == "columns" for scan in scans])
    settings = kernel_settings(config, 255.0 if out.dtype == np.uint8 else 1.0)
    number = planes.dtype.type
    visible = number(config.births[1] + 10 * config.bandwidth)

    def work(start: int, stop: int) -> None:
        render_planes(
            settings, planes[start:stop], start, channels, height, width, by_columns, number(np.inf), visible, out
        )

    map_blocks(work, len(planes), LANES, threads)


def _output(out: Any, shape: tuple[int, ...], config: PersistenceImageConfig) -> NDArray[Any]:
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray | Tensor):
        raise TypeError(f"out must be a NumPy array or a torch tensor; got {type(out).__name__}.")
    if isinstance(out, Tensor) and out.device.type != "cpu":
        raise ValueError(f"out must be in the memory of the CPU; got {out.device}.")
    target: NDArray[Any] = out.numpy() if isinstance(out, Tensor) else out
    if target.dtype.name not in ("float32", "uint8"):
        raise TypeError(f"out must be float32 or uint8; got {target.dtype.name}.")
    if target.shape != shape or not target.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous of shape {shape}; got {target.shape}.")
    if target.dtype == np.uint8 and config.scaling != "max":
        raise ValueError(f'8-bit images need scaling="max"; the settings have {config.scaling!r}.')
    return target

"""Batches for training and evaluation."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from persistill.data.augmentation import augment as augmented
from persistill.data.dataset import ImageDataset
from persistill.data.shuffling import shuffled
from persistill.data.views.online import OnlineView
from persistill.errors import UserError
from persistill.structures import Batch, share

_AHEAD = 2
_EXPECTED = 8
"""Batches, the next one included, of which sources far away are told before."""
_ORDER, _AUGMENT = 0, 1

Transform = Callable[[Tensor, int], Tensor]


class SplitView(Protocol):
    """Another view of the images of one split, as ``Loader`` needs it.

    Attributes:
        mean: per channel, of values in [0, 1].
        std: likewise.
    """

    @property
    def mean(self) -> Sequence[float]:
        """Channel means."""

    @property
    def std(self) -> Sequence[float]:
        """Channel standard deviations."""

    def __len__(self) -> int: ...

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1], on the CPU, of the images at ``index`` ((B,) int64)."""


class Loader:
    """Batches of a split, epoch by epoch, without any state.

    The order of an epoch depends on ``shuffle_seed`` and the epoch's number alone, augmentation on these and the
    batch's number alone: a run that is resumed at (epoch, step) sees the batches that it would have seen.

    Args:
        images: the split.
        views: name -> stored view of the same images, in the same order: of the images as they are, for neither
            augmentation nor ``transform`` reaches it.
        batch_size: images in a batch; the last one of an epoch may be smaller.
        mean: channel means by which "image" is normalized, pixels in [0, 1].
        std: channel standard deviations, likewise.
        shuffle_seed: draws the order; None for the stored order without augmentation.
        augment: "crop", "flip" and others, see ``augment``.
        crop_padding: of the crop, in pixels.
        crop_size: height and width of the crop; None for those of the images.
        drop_last: leave out a last batch that is smaller than the others.
        device: where batches are put.
        transform: called with (pixels in [0, 1], number of the batch), before normalization; its answer, of the same
            shape, is normalized instead.
        online: name -> view that is computed in every batch from what "image" shows, after augmentation and transform.
        share: rank and number of ranks, if they share every batch: the rank's rows alone are loaded, augmented as they
            would be in the whole one.

    Raises:
        UserError: if there are fewer images than one batch needs, or a view has another number of them.
        ValueError: if ``mean`` or ``std`` does not have one value per channel.
    """

    def __init__(
        self,
        images: ImageDataset,
        views: Mapping[str, SplitView],
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle_seed: int | None,
        augment: Sequence[Any] = (),
        crop_padding: int = 4,
        crop_size: tuple[int, int] | None = None,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        transform: Transform | None = None,
        online: Mapping[str, OnlineView] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.device = torch.device(device)
        self._images = images
        self._views, self._online = dict(views), dict(online or {})
        self._batch_size = batch_size
        self._shuffle_seed = shuffle_seed
        self._augment = tuple(augment)
        self._crop_padding = crop_padding
        self._crop_size = crop_size
        self._drop_last = drop_last
        self._transform = transform
        self._share = share
        # Augmentations of one's own draw for all images of a batch, so that they must see all.
        self._augments_whole = shuffle_seed is not None and not {"crop", "flip"}.issuperset(augment)
        self._normalize = {"image": _Normalize(mean, std, images.shape[0], self.device)}
        for name, view in self._views.items():
            if len(view) != len(images):
                raise UserError(
                    f"the view {name!r} holds {len(view)} images, and the data {len(images)}: it was made from "
                    "other data. Move its folder away and run the recipe again."
                )
            self._normalize[name] = _Normalize(view.mean, view.std, len(view.mean), self.device)
        for name, computed in self._online.items():
            self._normalize[name] = _Normalize(computed.mean, computed.std, len(computed.mean), self.device)
        if len(self) == 0:
            raise UserError(
                f"{len(images)} images do not fill one batch of {batch_size}: choose a smaller train.batch_size, "
                "or more images."
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        count, size = len(self._images), self._batch_size
        return count // size if self._drop_last else -(-count // size)

    def epoch(self, number: int, start: int = 0, steps: Sequence[int] | None = None) -> Iterator[Batch]:
        """The batches of one epoch.

        Streamed images are decoded two batches ahead, by a thread and its helpers, while another makes batches of those
        that are decoded, with views fetched or computed; both end with the iterator.

        Args:
            number: of the epoch.
            start: batches to pass over, because they were seen before.
            steps: numbers of batches, in place of all from ``start`` on.
        """
        order = self._order(number)
        steps = range(start, len(self)) if steps is None else steps
        if self._images.in_memory and not self._views and not self._online:
            for step in steps:
                yield self._batch(order, number, step)
            return
        # Two threads, so that no core has nothing to decode while a batch is augmented and normalized.
        fetching = ThreadPoolExecutor(1, thread_name_prefix="persistill-fetch")
        pool = ThreadPoolExecutor(1, thread_name_prefix="persistill-loader")
        try:
            ahead: deque[Future[Batch]] = deque()
            for position, step in enumerate(steps):
                coming = steps[max(0, position - _AHEAD) : position + _EXPECTED]
                self._images.expect(torch.cat([self._index(order, other) for other in coming]))
                fetched = fetching.submit(self._fetch, order, step)
                ahead.append(pool.submit(self._batch, order, number, step, fetched))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            fetching.shutdown(wait=False, cancel_futures=True)
            pool.shutdown(cancel_futures=True)
            fetching.shutdown()

    def _order(self, number: int) -> Tensor:
        if self._shuffle_seed is None:
            return torch.arange(len(self._images))
        return shuffled(len(self._images), self._images.blocks, _generator(self._shuffle_seed, _ORDER, number))

    def _share_of(self, order: Tensor, step: int) -> tuple[slice, int]:
        """The rows of a batch that this rank has, and how many there are in all."""
        count = len(order[step * self._batch_size : (step + 1) * self._batch_size])
        return share(count, *self._share), count

    def _index(self, order: Tensor, step: int) -> Tensor:
        """The images that are fetched for a batch."""
        index = order[step * self._batch_size : (step + 1) * self._batch_size]
        return index if self._augments_whole else index[self._share_of(order, step)[0]]

    def _fetch(self, order: Tensor, step: int) -> tuple[Tensor, Tensor]:
        index = self._index(order, step)
        return self._images.fetch(index), self._images.fetch_targets(index)

    def _batch(
        self, order: Tensor, number: int, step: int, fetched: "Future[tuple[Tensor, Tensor]] | None" = None
    ) -> Batch:
        index = self._index(order, step)
        part = rows, _ = self._share_of(order, step)
        seed, augment, whole = self._shuffle_seed, self._augment, self._augments_whole
        pixels, target = self._fetch(order, step) if fetched is None else fetched.result()
        pixels, target = pixels.to(self.device), target.to(self.device)
        if augment and seed is not None:
            pixels, target = augmented(
                pixels,
                target,
                augment,
                self._crop_padding,
                _generator(seed, _AUGMENT, number, step),
                self._crop_size,
                part=None if whole else part,
            )
        if whole:
            index, pixels, target = index[rows], pixels[rows], target[rows]
        image = pixels.float() / 255
        if self._transform is not None:
            pixels = image = self._transform(image, step)
        views = {"image": self._normalize["image"](image)}
        for name, view in self._views.items():
            views[name] = self._normalize[name](view.fetch(index).to(self.device))
        for name, computed in self._online.items():
            views[name] = self._normalize[name](computed.compute(pixels))
        return Batch(views, target, index.to(self.device))


class _Normalize:
    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int, device: torch.device) -> None:
        if not len(mean) == len(std) == channels:
            raise ValueError(
                f"mean and std must have one value for each of the {channels} channels; {tuple(mean)} and "
                f"{tuple(std)} were given."
            )
        self._mean = torch.tensor(tuple(mean), dtype=torch.float32, device=device)[:, None, None]
        self._std = torch.tensor(tuple(std), dtype=torch.float32, device=device)[:, None, None]

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self._mean) / self._std


def _generator(*parts: int) -> torch.Generator:
    """A generator of its own for every tuple of numbers; neighboring tuples give unrelated draws."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

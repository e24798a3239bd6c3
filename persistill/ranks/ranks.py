"""The processes that work at one thing together: which one this is, and what they tell each other.

In a training every rank asks the network about its own rows of a batch. What was answered is gathered, and every rank
computes the same whole loss, so that losses which compare images with each other mean the same on any number of
devices. Each rank then has the gradient of the whole loss for its own rows, and the gradients of the weights are sums
over rows: they are added up over ranks, and nothing is scaled. Parts of losses that are trained along see the whole
batch on every rank, and have their whole gradient everywhere already.

Elsewhere each rank takes whole batches, or whole steps of an evaluation, and the first one gets what came of them in
order: a batch is never made of other images than on one device, so that results are the same, bit for bit.

torch's DistributedDataParallel is not used: it averages instead of adding, overwrites buffers, and waits forever for
gradients of weights that a loss leaves out at some steps.
"""

import contextlib
import datetime as dt
import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import pad

from persistill.errors import RankLostError, UserError
from persistill.structures import IGNORE_INDEX, Batch, Batches, ModelOutput, OutputField
from persistill.utils.units import counted

_PATIENCE = dt.timedelta(days=30)
"""For which ranks wait while the first one works alone. One that ends is noticed at once."""

Value = TypeVar("Value")


class Ranks:
    """The ranks of one training; a process alone is the only one, and tells nobody anything.

    Args:
        rank: of this process, from 0.
        size: how many there are. For more than one, ``torch.distributed`` is initialized already.
        device: of this process.

    Attributes:
        rank: of this process.
        size: how many there are.
        device: of this process.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)
        self._small: Any = None
        self._large: Any = None
        if size > 1:
            with _told_if_lost():
                self._small = distributed.new_group(backend="gloo", timeout=_PATIENCE)
                self._large = distributed.new_group(backend="nccl") if self.device.type == "cuda" else self._small

    def leave(self) -> None:
        """Let go of the other ranks, before Python ends; from here on this one talks to nobody.

        Threads of gloo hold tensors of Python's for a moment longer than a call takes. One that lets go of them while
        Python ends aborts the process, after all was done; with its group, they end.
        """
        small, self._small = self._small, None
        if self._large is small:
            self._large = None
        if small is not None and distributed.is_initialized():
            distributed.destroy_process_group(small)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes, logs, validates and talks."""
        return self.rank == 0

    def from_leader(self, value: Value) -> Value:
        """What the first rank gave, anything that can be pickled; the others wait for it, as long as it takes."""
        if self.size == 1:
            return value
        held = [value if self.leads else None]
        with _told_if_lost():
            distributed.broadcast_object_list(held, src=0, group=self._small)
        found: Any = held[0]
        return found  # type: ignore[no-any-return]

    def to_leader(self, value: Value) -> list[Value]:
        """What all ranks gave, in order, anything that can be pickled, for the first one; the others get nothing."""
        if self.size == 1:
            return [value]
        held: list[Any] | None = [None] * self.size if self.leads else None
        with _told_if_lost():
            distributed.gather_object(_pickled(value), held, dst=0, group=self._small)
        return [pickle.loads(one) for one in held or ()]  # noqa: S301 - of our own processes

    def share(self, count: int, work: Callable[[Sequence[int]], Iterable[Value]]) -> Iterator[Value]:
        """Have every rank work at every size-th of some items, and give all that came of it to the first one, in order.

        In the last round, ranks for which nothing is left take the last item again, so that all do equally much: what
        asks all ranks for something, such as weights of which each holds a part, may be done inside.

        Args:
            count: of the items.
            work: numbers of items -> what comes of each of them, one after the other.

        Yields:
            What came of each item, for the first rank. The others must go through all of it too, and get nothing.
        """
        if self.size == 1:
            yield from work(range(count))
            return
        rounds = range(0, count, self.size)
        own = iter(work([min(first + self.rank, count - 1) for first in rounds]))
        for first in rounds:
            found: Any = next(own)
            if self.leads:  # what it has done itself is kept, whatever becomes of the others
                yield found
            others: list[Any] = self.to_leader(None if self.leads else found)
            yield from others[1 : count - first]

    def share_batches(self, loader: Batches, work: Callable[[Batch], Value]) -> Iterator[Value]:
        """Have every rank work at every size-th batch of an epoch in a fixed order; see ``share``.

        Args:
            loader: of all batches, the same for all ranks.
            work: a batch -> what comes of it, on the CPU.
        """
        if self.size == 1:
            return map(work, loader.epoch(0))
        return self.share(len(loader), lambda steps: map(work, loader.epoch(0, steps=steps)))

    def largest(self, *numbers: int) -> list[int]:
        """Each number's largest value of all ranks."""
        if self.size == 1:
            return list(numbers)
        held = torch.tensor(numbers, dtype=torch.int64)
        with _told_if_lost():
            distributed.all_reduce(held, distributed.ReduceOp.MAX, group=self._small)
        return [int(number) for number in held]

    def counts(self, count: int, least: int = 1) -> list[int]:
        """Every rank's count of rows, in order.

        Args:
            count: of the own rows.
            least: of each rank.

        Raises:
            UserError: if one has fewer.
        """
        if self.size == 1:
            return [count]
        found = self.largest(*(count if rank == self.rank else 0 for rank in range(self.size)))
        if min(found) < least:
            raise UserError(
                f"a batch of {sum(found)} images cannot be shared by {self.size} devices, each of which needs "
                f"{counted(least, 'image')} at least. Choose a larger train.batch_size, or fewer devices."
            )
        return found

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, in order. The gradient of the result goes to the own rows, and is not scaled.

        Args:
            rows: (own count, ...), of the same other sizes on every rank.
            counts: of all ranks, see ``counts``.
        """
        if self.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self, counts)
        return gathered

    def gather_output(self, output: ModelOutput, counts: Sequence[int], fields: Iterable[OutputField]) -> ModelOutput:
        """What all ranks' networks answered, in order.

        Args:
            output: to the own rows.
            counts: of all ranks.
            fields: that anybody reads; the others are empty in the result. Losses that networks compute themselves
                are always read: of each rank as many as its network was called times, which are the same everywhere.
        """
        if self.size == 1:
            return output
        nothing, read = torch.zeros(0, device=self.device), set[str](fields)

        def gathered(field: str, rows: Tensor) -> Tensor:
            if field == "losses":
                return self.gather(rows, [len(rows)] * self.size)
            return self.gather(rows, counts) if field in read else nothing

        return output.map(gathered)

    def gather_batch(self, batch: Batch, counts: Sequence[int]) -> Batch:
        """The whole batch. Its inputs are gathered only if somebody looks at them, which all ranks do or none."""
        if self.size == 1:
            return batch
        return replace(
            batch,
            inputs=_OnDemand(lambda view: self.gather(batch.inputs[view], counts)),
            target=self.gather(self._as_long_everywhere(batch.target), counts),
            index=self.gather(batch.index, counts),
        )

    def _as_long_everywhere(self, target: Tensor) -> Tensor:
        """Targets with rows for as many objects as an image of any rank has; others as they are."""
        if target.ndim == 1:
            return target
        missing = [most - own for most, own in zip(self.largest(*target.shape[1:]), target.shape[1:], strict=True)]
        return pad(target, [side for more in reversed(missing) for side in (0, more)], value=IGNORE_INDEX)

    def exchange(self, values: Tensor) -> Tensor:
        """Equally large values of all ranks, stacked: (size, ...). The gradient is that of all ranks' losses together.

        Args:
            values: of any shape.
        """
        stacked: Tensor = _Exchange.apply(values, self)
        return stacked

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up all ranks' gradients of some weights, in place; one that a rank lacks counts as zero there."""
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter, somewhere in zip(
            trained, self.largest(*(int(one.grad is not None) for one in trained)), strict=True
        ):
            if somewhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):  # in the same order everywhere
            of_one_type = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.reshape(-1) for gradient in of_one_type])
            self._reduce(flat)
            for gradient, total in zip(
                of_one_type, torch.split(flat, [one.numel() for one in of_one_type]), strict=True
            ):
                gradient.copy_(total.view_as(gradient))

    def copy_leader(self, tensors: Iterable[Tensor]) -> None:
        """Take the first rank's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                dense = tensor.detach().contiguous()
                with _told_if_lost():
                    distributed.broadcast(dense, src=0, group=self._large)
                tensor.detach().copy_(dense)

    def copy_random_state(self) -> None:
        """Draw from here on what the first rank draws."""
        if self.size > 1:
            torch.set_rng_state(self.from_leader(torch.get_rng_state()))
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self.from_leader(torch.cuda.get_rng_state(self.device)), self.device)

    @contextlib.contextmanager
    def own_draws(self, step: int) -> Iterator[None]:
        """Draw other random numbers than the other ranks inside, as dropout must, and afterwards as if nothing was.

        Args:
            step: of the training; every step draws others.
        """
        if self.size == 1:
            yield
            return
        digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes() + repr((step, self.rank)).encode()).digest()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            yield

    def _reduce(self, values: Tensor) -> None:
        with _told_if_lost():
            distributed.all_reduce(values, group=self._large)

    def _gather(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        missing = max(counts) - len(rows)
        padded = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows.contiguous()
        parts = [torch.empty_like(padded) for _ in counts]
        with _told_if_lost():
            distributed.all_gather(parts, padded, group=self._large)
        return [part[:count] for part, count in zip(parts, counts, strict=True)]


class _Pickler(pickle.Pickler):
    """Takes of a tensor its own values alone, and not all of the memory of which it is a part."""

    def reducer_override(self, given: Any) -> Any:
        if not isinstance(given, Tensor):
            return NotImplemented
        return given.detach().clone().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # type: ignore[no-untyped-call]


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, counts: Sequence[int]) -> Tensor:
        before = sum(counts[: ranks.rank])
        ctx.own = slice(before, before + len(rows))
        return torch.cat(ranks._gather(rows, counts))  # noqa: SLF001 - its own half

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own], None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return torch.stack(ranks._gather(values[None], [1] * ranks.size)).squeeze(1)  # noqa: SLF001 - its own half

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        ctx.ranks._reduce(total)  # noqa: SLF001 - its own half
        return total[ctx.ranks.rank], None


class _OnDemand(dict[str, Tensor]):
    """Tensors that are made when they are first looked up."""

    def __init__(self, make: Callable[[str], Tensor]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Tensor:
        self[name] = made = self._make(name)
        return made


@contextlib.contextmanager
def _told_if_lost() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:  # of this one
        raise
    except RuntimeError as error:
        raise RankLostError(f"another process of this run has ended ({error})") from error

"""The number of threads with which torch computes on the processor, set for a while."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_all: ContextVar[int | None] = ContextVar("all_threads", default=None)


def all_threads() -> int:
    """Threads that torch has, or would have outside of ``computing_with``."""
    return _all.get() or torch.get_num_threads()


@contextlib.contextmanager
def computing_with(count: int) -> Iterator[None]:
    """Compute with so many threads inside, and with as many as before afterwards."""
    before = torch.get_num_threads()
    token = _all.set(all_threads())
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _all.reset(token)

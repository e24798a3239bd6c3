import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from persistill.utils import threads as pool
from persistill.utils.progress import Silent
from persistill.utils.threads import in_threads


def test_in_threads_keeps_the_order_and_tells_progress():
    class Counter(Silent):
        total = 0

        def advance(self, units, note="", values=None):
            self.total += units

    counter = Counter()
    assert in_threads(lambda i: i * i, 1001, counter) == [i * i for i in range(1001)]
    assert counter.total == 1001
    assert in_threads(lambda i: i, 0) == []


@pytest.fixture
def cancelled(monkeypatch):
    """Set as soon as the pool has dropped what had not begun: work that waits for it depends on no clock."""
    event = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            event.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(pool, "ThreadPoolExecutor", Pool)
    return event


def threads():
    return min(os.cpu_count() or 1, 16)


def test_in_threads_passes_errors_on_and_begins_nothing_more(cancelled):
    begun = []

    def fail(i):
        begun.append(i)
        if i > 0:
            assert cancelled.wait(60)
        raise KeyError(i)

    with pytest.raises(KeyError):
        in_threads(fail, 100_000)
    assert len(begun) <= 1 + threads()


def test_in_threads_drops_the_rest_when_it_is_interrupted(cancelled):
    class Interrupted(Silent):
        def advance(self, units, note="", values=None):
            raise KeyboardInterrupt

    block, begun = pool._BLOCK, []

    def waits(i):
        begun.append(i)
        if i >= block:  # the first block is whole, and then comes the interruption
            assert cancelled.wait(60)

    with pytest.raises(KeyboardInterrupt):
        in_threads(waits, 1000 * block, Interrupted())
    assert len(begun) <= (1 + threads()) * block

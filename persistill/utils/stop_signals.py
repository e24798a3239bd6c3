"""Signals that ask a process to stop: ctrl-C, and what a cluster sends before it takes the machine away."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # no SIGUSR1 on Windows


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; whatever ends at ctrl-C ends at it.

    Attributes:
        signum: the signal's number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


_came: list[int] = []
"""Signals that came since ``stop_at_once`` began: what a handler raises is lost where Python may not raise, as in a
callback from compiled code."""


def stop_was_asked() -> bool:
    """Whether a signal came since ``stop_at_once`` began."""
    return bool(_came)


def stop_if_asked() -> None:
    """Raise ``Stopped`` if a signal came whose exception was lost, or became another.

    Called wherever it is a good moment to stop, and before what went wrong is believed.
    """
    if _came:
        raise Stopped(_came[-1])


@contextlib.contextmanager
def stop_at_once() -> Iterator[Callable[[], int]]:
    """Raise ``Stopped`` wherever the main thread is when one of the signals comes.

    Whatever else is raised after a signal is ``Stopped`` too: compiled libraries turn what a handler raises inside them
    into errors of their own, such as a weights file that cannot be read.

    Yields:
        A function that gives the number of the signal that came last, 0 if none did.
    """
    came = [0]

    def stop(signum: int, _: FrameType | None) -> None:
        came[0] = signum
        _came.append(signum)
        raise Stopped(signum)

    try:
        with _handlers(stop):
            yield lambda: came[0]
    except Exception as error:
        if came[0]:
            raise Stopped(came[0]) from error
        raise
    finally:
        _came.clear()


@contextlib.contextmanager
def stop_between_steps() -> Iterator[Callable[[], int]]:
    """Give a function that tells which signal came, 0 if none did; a second signal stops at once.

    Signals can be caught in the main thread only: in any other the function always gives 0.
    """
    stop_if_asked()
    came, before = [0], dict[int, Any]()

    def note(signum: int, frame: FrameType | None) -> None:
        if came[0]:
            if callable(before[signum]):
                before[signum](signum, frame)
            raise Stopped(signum)
        came[0] = signum

    with _handlers(note) as replaced:
        before |= replaced
        yield lambda: came[0]


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Let a signal end the process inside, where nothing can be lost and compiled code waits, which hears nothing."""
    with _handlers(signal.SIG_DFL):
        yield


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Give the handlers of before back at the end, whatever a library puts in their place meanwhile."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            if earlier is not None:  # what no Python code has set cannot be set from here
                signal.signal(signum, earlier)


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[dict[int, Any]]:
    """Put a handler in place of the usual ones, and give those back at the end: a program's own are left alone."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS if _usual(signum)}
    for signum in before:
        signal.signal(signum, handler)
    try:
        yield before
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


def _usual(signum: int) -> bool:
    """Whether nothing but Python, or this module, handles a signal. Ctrl-C is caught even where a shell ignores it."""
    handler = signal.getsignal(signum)
    return signum == signal.SIGINT or handler == signal.SIG_DFL or getattr(handler, "__module__", "") == __name__

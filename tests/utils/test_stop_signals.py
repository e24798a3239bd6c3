"""Signals that ask a process to stop."""

import ctypes
import os
import signal
import sys
import threading

import pytest

from persistill.utils.stop_signals import (
    STOP_SIGNALS,
    Stopped,
    stop_at_once,
    stop_between_steps,
    stop_if_asked,
    stop_was_asked,
)


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_a_signal_stops_at_once(signum: int) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped, match=signal.Signals(signum).name) as stopped, stop_at_once() as stopped_by:
        assert stopped_by() == 0
        os.kill(os.getpid(), signum)
    assert stopped.value.signum == stopped_by() == signum
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert signal.getsignal(signum) == before


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_a_signal_is_told_between_steps_and_the_second_stops(signum: int) -> None:
    with stop_at_once(), stop_between_steps() as stopped_by:
        os.kill(os.getpid(), signum)
        assert stopped_by() == signum
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signum)
    with stop_between_steps() as stopped_by:
        assert stopped_by() == 0


def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: dropped.append(about.exc_type))

    @ctypes.CFUNCTYPE(None)
    def callback() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with stop_at_once():
        callback()
        assert dropped == [Stopped]
        with pytest.raises(Stopped):
            stop_if_asked()
        with pytest.raises(Stopped), stop_between_steps():
            pass
    stop_if_asked()


def test_an_error_that_a_library_makes_of_a_signal_stops() -> None:
    with pytest.raises(Stopped) as stopped, stop_at_once():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            assert stop_was_asked()
            raise ValueError("could not be read") from None
    assert stopped.value.signum == signal.SIGTERM
    assert not stop_was_asked()
    with pytest.raises(ValueError, match="by itself"), stop_at_once():
        raise ValueError("by itself")


def test_a_handler_of_the_programs_own_is_left_alone() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda signum, _: came.append(signum))
    try:
        with stop_at_once() as stopped_by, stop_between_steps() as told:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stopped_by() == told() == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]


def test_other_threads_are_told_nothing() -> None:
    told: list[int] = []

    def work() -> None:
        with stop_between_steps() as stopped_by:
            told.append(stopped_by())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [0]

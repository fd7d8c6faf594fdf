"""A user's or a scheduler's wish that a run end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WISHES = (signal.SIGTERM, signal.SIGHUP)
"""A scheduler's, and that of a terminal or a connection that was closed."""


class Cancelled(KeyboardInterrupt):
    """The user (Ctrl-C) or a signal of `WISHES` (whose number is the argument) ends the run."""


@contextmanager
def signals_cancel(received: list[int]) -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the program like Ctrl-C does; their numbers go to `received`. What `nohup` has switched off stays off."""

    def cancel(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Cancelled(number)

    before = {}
    try:
        for wish in WISHES:
            if signal.getsignal(wish) != signal.SIG_IGN:
                before[wish] = signal.signal(wish, cancel)
    except ValueError:  # not the main thread: signals are its
        yield
        return
    try:
        yield
    finally:
        for wish, handler in before.items():
            signal.signal(wish, handler)

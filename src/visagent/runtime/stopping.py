"""A user's or a scheduler's wish that a run end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

WISHES = (signal.SIGTERM, signal.SIGHUP)
"""A scheduler's, and that of a terminal or a connection that was closed."""


class Cancelled(KeyboardInterrupt):
    """The user (Ctrl-C) or a signal of `WISHES` (whose number is the argument) ends the run."""


class Preempted(Cancelled):
    """The scheduler wants the run to make way; it goes on when its job's turn comes again."""


PRUNED = "pruned after"
"""How a record's error begins of a run that a search has ended early."""


class Pruned(Exception):
    """A search has the run end early; the message, which begins with `PRUNED`, says why."""


@contextmanager
def signals_cancel(received: list[int]) -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end the program like Ctrl-C does; their numbers go to `received`.

    What `nohup` has switched off stays off.
    """

    def cancel(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Cancelled(number)

    with _handled_by(cancel):
        yield


@contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP have `say` called, and then end the program at once, as they do by themselves."""

    def end(number: int, frame: FrameType | None) -> None:
        say()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    with _handled_by(end):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {}
    try:
        for wish in WISHES:
            if signal.getsignal(wish) != signal.SIG_IGN:
                before[wish] = signal.signal(wish, handler)
    except ValueError:  # not the main thread: signals are its
        yield
        return
    try:
        yield
    finally:
        for wish, earlier in before.items():
            signal.signal(wish, earlier)

"""Worker processes that end with the process that started them, also when it is killed and can no longer say so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import connection

WATCHER, WATCH_SECONDS = "end-with-parent", 1.0


def end_with_parent(grace: float = 0.0) -> None:
    """Watch over the parent of this process, once.

    Args:
        grace: seconds that this process has, after a SIGTERM, to end by itself.
    """
    if any(thread.name == WATCHER for thread in threading.enumerate()):
        return
    starter = multiprocessing.parent_process()
    sentinel = None if starter is None else starter.sentinel  # joblib's workers have none
    parent: int | None = os.getppid() if starter is None else starter.pid
    if sentinel is not None and parent != os.getppid():  # a server forks for the starter, or that is gone already
        parent = None

    def watch() -> None:
        while parent is None or os.getppid() == parent:
            if sentinel is None:
                time.sleep(WATCH_SECONDS)
            elif connection.wait([sentinel], WATCH_SECONDS):
                break
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(143)

    threading.Thread(target=watch, name=WATCHER, daemon=True).start()

"""Worker processes that end with the process that started them, also when it is killed and can no longer say so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

WATCHER, WATCH_SECONDS = "end-with-parent", 1.0


def end_with_parent(grace: float = 0.0) -> None:
    """Watch over the parent of this process, once.

    Args:
        grace: seconds that this process has, after a SIGTERM, to end by itself.
    """
    if any(thread.name == WATCHER for thread in threading.enumerate()):
        return
    starter = multiprocessing.parent_process()
    parent = os.getppid() if starter is None or starter.pid is None else starter.pid  # it may be gone already

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(143)

    threading.Thread(target=watch, name=WATCHER, daemon=True).start()

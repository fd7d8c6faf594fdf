"""A run's log file: what the console says while it runs, each process's in a file of its own, one attempt after the
other.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from visagent.runtime.credentials import without_credentials

CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P][^\x07\x1b]*(?:\x07|\x1b\\\\)|\r(?!\n)")
"""Colours, movements of the cursor, links."""
REDRAWN, BAR = re.compile(r"\x1b\[\d*[AK]"), re.compile("[━╸╺]")
"""How a progress bar begins to draw itself again, and what it draws."""
OWN_HANDLERS = ("pytorch_lightning", "lightning_fabric")
"""Loggers that do not hand on what they are told."""
FILE_ALONE = logging.getLogger("visagent.file_alone")
"""Says nothing on the console."""
FILE_ALONE.propagate = False
FILE_ALONE.setLevel(logging.INFO)
FILE_ALONE.addHandler(logging.NullHandler())


class RunLog:
    """A text file to append to. When it can no longer be written, the console hears of it once, and the run goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", errors="replace")
        except OSError as error:
            self._give_up(error)

    def write(self, text: str) -> None:
        """Append, without colours, credentials, and the bars that are drawn again and again."""
        if self._file is None:
            return
        if REDRAWN.search(text):
            text = "".join(
                line
                for line in CONTROL.sub("", text).splitlines(keepends=True)
                if line.strip() and not BAR.search(line)
            )
        try:
            self._file.write(without_credentials(CONTROL.sub("", text)))
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file; nothing is appended afterwards."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)
            self._file = None

    def _give_up(self, error: OSError) -> None:
        self._file = None
        print(f"{self.path} cannot be written ({error.strerror}); the run goes on without it", file=sys.__stderr__)


class _Both(io.TextIOBase):
    """A stream of the console that also goes to the log."""

    def __init__(self, console: Any, log: RunLog) -> None:
        self.console, self.log = console, log

    def write(self, text: str) -> int:
        self.log.write(text)
        written: int = self.console.write(text)
        return written

    def flush(self) -> None:
        self.console.flush()

    def isatty(self) -> bool:
        return bool(self.console.isatty())

    def fileno(self) -> int:
        return int(self.console.fileno())

    def writable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return bool(self.console.closed)

    @property
    def encoding(self) -> str | None:  # type: ignore[override]
        return getattr(self.console, "encoding", None)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self.console, "errors", None)


class _LogHandler(logging.Handler):
    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.write(self.format(record) + "\n")


@contextmanager
def logged(path: Path, title: str) -> Iterator[RunLog]:
    """Within it, what is printed and logged is also appended to `path`, below `title`."""
    log = RunLog(path)
    log.write(f"== {title}\n")
    handler = _LogHandler(log)
    loggers = [
        logging.getLogger(),
        FILE_ALONE,
        *(logger for name in OWN_HANDLERS if not (logger := logging.getLogger(name)).propagate),
    ]
    before = sys.stdout, sys.stderr
    both = _Both(sys.stdout, log), _Both(sys.stderr, log)
    sys.stdout, sys.stderr = both
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield log
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        # Whoever has put another stream on top meanwhile has it; ours then only passes on.
        sys.stdout = before[0] if sys.stdout is both[0] else sys.stdout
        sys.stderr = before[1] if sys.stderr is both[1] else sys.stderr
        log.close()

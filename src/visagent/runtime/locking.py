"""Locks of files that go with the process that holds them, and what is said where a file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from visagent.errors import ConfigError
from visagent.runtime.allocation import this_job, this_node
from visagent.runtime.slurm import QueueSilent, live_jobs

LOCKLESS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
NETWORK = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "panfs", "afs", "9p", "fuse.glusterfs")
"""File systems of several machines, as /proc/mounts calls them."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as it has written into the file.

    Attributes:
        process: its id.
        node: its machine.
        job: of Slurm; None outside.
    """

    process: int
    node: str
    job: str | None

    def __str__(self) -> str:
        return f"process {self.process} on {self.node}" + (f" in job {self.job}" if self.job else "")


def take(file: IO[str], how: int) -> None:
    """Lock an open file, or say that another process has it.

    Args:
        file: open.
        how: `fcntl.LOCK_EX` or `fcntl.LOCK_SH`.

    Raises:
        BlockingIOError: when another process has it.
        ConfigError: where the file system cannot lock.
    """
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        raise ConfigError(
            f"{file.name}: expected a file system that can lock files, got {file_system(Path(file.name))} "
            f"({error.strerror}); choose another with paths.outputs=DIR, or have it mounted with locks (Lustre: -o "
            "flock)"
        ) from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file within.

    Raises:
        BlockingIOError: when another process has it; its text names the holder.
        ConfigError: where the file system cannot lock.
    """
    with path.open("a+") as file:
        try:
            take(file, fcntl.LOCK_EX)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, str(_holder(path) or "another process")) from error
        if (other := _beyond_the_lock(path)) is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, str(other))
        file.truncate(0)
        file.write(f"{os.getpid()} {this_node()} {this_job() or '-'}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def is_held(path: Path) -> bool:
    """Whether a living process holds a file.

    Raises:
        ConfigError: where the file system cannot lock.
    """
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            take(file, fcntl.LOCK_SH)
        except BlockingIOError:
            return True
        return _beyond_the_lock(path) is not None


def _holder(path: Path) -> Holder | None:
    words = path.read_text().split()
    if len(words) != 3 or not words[0].isdigit():
        return None
    return Holder(int(words[0]), words[1], None if words[2] == "-" else words[2])


def _beyond_the_lock(path: Path) -> Holder | None:
    """A holder on another machine, where locks do not reach from there to here: as long as Slurm has its job."""
    holder = _holder(path)
    if holder is None or holder.job is None or holder.node == this_node() or holder.job == this_job():
        return None
    try:
        return holder if live_jobs().get(holder.job) == "RUNNING" else None
    except QueueSilent:
        return None


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on, as /proc/mounts calls it."""
    place, kind, longest = str(path.resolve()), "an unknown one", -1
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, this, *_ = line.split(" ")
        mounted = re.sub(r"\\(\d{3})", lambda match: chr(int(match.group(1), 8)), mounted)
        if (place == mounted or place.startswith(mounted.rstrip("/") + "/")) and len(mounted) >= longest:
            kind, longest = this, len(mounted)
    return kind

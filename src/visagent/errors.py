"""Errors that a user can mend: the commands print their message alone, without a traceback."""

from __future__ import annotations

import errno
import os
import re


class UserError(Exception):
    """Something asked for cannot be done; the message says what was got, what is expected and what to type."""

    status = 2
    """With which a command ends."""


class ConfigError(UserError, ValueError):
    """A config value, or a combination of them, that cannot be run."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a config names is not there."""


class OthersGone(UserError):
    """A learner waited in vain for the others of its run; one of them knows why."""


class DivergedError(UserError, ArithmeticError):
    """A loss, weights or returns of a run are not finite any more."""


SPACE = "free some, or choose another place, for example with paths.outputs=DIR"
FILES = "allow more with 'ulimit -n 4096', or type fewer workers or actors"
ANOTHER = "choose another path"
ADVICE = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: SPACE,
    errno.EROFS: "choose another place, for example with paths.outputs=DIR",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.ENOMEM: "free some, or type fewer workers or actors",
    errno.EIO: "the disk or its connection is at fault",
    errno.ESTALE: "the network file system has lost the file; type the same command again",
    errno.ELOOP: ANOTHER,
}
"""What the machine can refuse anywhere, and what to do."""
UNUSABLE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM)
"""What a path that the user chose can be; without a path it is an error of ours."""
NUMBER = re.compile(r"\[Errno (\d+)\]|errno = (\d+)")
"""How an error number looks in texts: of worker processes, and of HDF5."""


MET = re.compile(r"waiting for clients\. (\d+)/(\d+) clients joined")
"""PyTorch's words where a process waited in vain for others."""


def machine_message(error: BaseException) -> str | None:
    """One line for what the machine refuses (no space, no right to write, too many open files), with what to do; None
    for any other error.

    Only an `OSError`, or an error that quotes one, can be of this kind, or PyTorch's that processes have not met.
    """
    if met := MET.search(str(error)):
        return (
            f"{met.group(1)} of {met.group(2)} processes of the run found each other in time: expected all of them; "
            "what the others say is in log.rank*.txt of the run's folder, and MASTER_ADDR=ADDRESS MASTER_PORT=PORT in "
            "the environment have them meet elsewhere"
        )
    number, place = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
    if number is None and (match := NUMBER.search(str(error))):
        number = int(match.group(1) or match.group(2))
    if number is None and "Too many open files" in str(error):  # PyTorch's own words
        number = errno.EMFILE
    if number in ADVICE:
        return f"{f'{place}: ' if place else ''}{os.strerror(number)}; {ADVICE[number]}"
    if number in UNUSABLE and place is not None:
        return f"{place}: {os.strerror(number)}; {ANOTHER}"
    return None

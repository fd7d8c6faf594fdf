"""Errors that a user can mend: the commands print their message alone, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something asked for cannot be done; the message says what was got, what is expected and what to type."""


class ConfigError(UserError, ValueError):
    """A config value, or a combination of them, that cannot be run."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a config names is not there."""


class DivergedError(UserError, ArithmeticError):
    """A loss, weights or returns of a run are not finite any more."""

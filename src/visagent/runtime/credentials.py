"""Removes user names and passwords from addresses before they are written or shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
QUERY = re.compile(r"(?i)(?<=[?&])([\w-]*(?:password|passwd|pwd|token|secret|key)=)[^&\s'\"#]+")
HIDDEN = "***"


def without_credentials(text: str) -> str:
    """A text whose addresses have lost their `user:password@` and their passwords and tokens among the parameters."""
    return QUERY.sub(rf"\g<1>{HIDDEN}", USERINFO.sub(f"{HIDDEN}@", text))


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config as it may be stored: the tracking address without credentials."""
    logger = config.get("logger")
    if not isinstance(logger, Mapping) or not logger.get("tracking_uri"):
        return dict(config)
    return {**config, "logger": {**logger, "tracking_uri": without_credentials(str(logger["tracking_uri"]))}}

"""The precisions in which a method works: each algorithm's schema states them; any other is refused before
anything runs.

A schema's `precisions` are Lightning's names of them, `pixel_precisions` those that need pixels to observe; without
either a method computes in single precision. Batches are frozen, so that Lightning cannot convert them: half or double
precision throughout (`bf16-true`, `16-true`, `64-true`) is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visagent.errors import ConfigError

SINGLE = "32-true"
ALIASES = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "None": SINGLE}
"""Of Lightning's, for its names."""


def precision_of(trainer: Mapping[str, Any]) -> str:
    """Lightning's own name for what a Trainer's settings ask for."""
    asked = str(trainer.get("precision", SINGLE))
    return ALIASES.get(asked, asked)


def check_precision(schema: type | None, trainer: Mapping[str, Any], datamodule: Mapping[str, Any]) -> None:
    """Refuse a precision in which a method does not work.

    Args:
        schema: of the method; None for one that has none, of which nothing is known.
        trainer, datamodule: their settings.

    Raises:
        ConfigError: with those in which it works.
    """
    asked = precision_of(trainer)
    if schema is None:
        return
    always: tuple[str, ...] = getattr(schema, "precisions", (SINGLE,))
    pixels: tuple[str, ...] = getattr(schema, "pixel_precisions", ())
    if asked in pixels and observes_pixels(datamodule.get("env")) is False:
        raise _refusal(
            asked, f"{' or '.join(always)}, as the policy observes no pixels and a small network gains nothing"
        )
    if asked not in (*always, *pixels):
        raise _refusal(
            asked, " or ".join(always) + (f", or {' or '.join(pixels)} with pixels to observe" if pixels else "")
        )
    if asked == "16-mixed" and trainer.get("accelerator") == "cpu":
        raise _refusal(asked, f"{' or '.join(name for name in always if name != asked)} on a CPU")


def _refusal(asked: str, expected: str) -> ConfigError:
    return ConfigError(f"trainer.precision: expected {expected}, got {asked!r}; type trainer.precision={SINGLE}")


def observes_pixels(env: Mapping[str, Any] | None) -> bool | None:
    """Whether a world's settings ask for pixels; None where they leave that to the world."""
    env = env or {}
    if env.get("observe") in ("pixels", "both"):
        return True
    if isinstance(env.get("observe"), list):  # robosuite's: names of what else is observed
        return bool(env.get("pixels"))
    return None

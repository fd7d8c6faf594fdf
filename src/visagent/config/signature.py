"""A run's identity: a hash of all that can change its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from visagent.config.history import neutral_keys, renamed
from visagent.config.registry import FORMER_TARGETS
from visagent.config.schemas import TrainConfig, schema_below
from visagent.config.settings import former_names

EXCLUDED = (
    "algorithm.expert.overrides",
    "algorithm.expert.train",
    "algorithm.expert_checkpoint",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.enable_model_summary",
    "network.weights",
    "network.strict",
    "checkpoint.keep",
    "datamodule.cache",
    "datamodule.env.cache",
    "datamodule.env.host",
    "datamodule.env.port",
    "datamodule.env.curriculum.cache",
    "datamodule.make_workers",
    "datamodule.missing_share",
    "datamodule.workers",
    "datamodule.pool",
    "datamodule.address",
    "datamodule.timeout",
    "datamodule.eval_batch_size",
    "launcher",
    "learners.patience",
    "machine",
    "progress",
    "logger",
    "paths",
    "threads",
    "objective",
    "prune",
    "allow_targets",
)
"""Keys that say where or how visibly a run happens. `threads` may change the last bit of a float, not what is learned.
What composes an expert's run is said by that run's signature, and a file's hash stands for the file.
"""


def changes_identity(override: str) -> bool:
    """Whether a command-line override (`key=value`, `group=option`) can change a run's signature."""
    key = override.lstrip("+~").split("=", 1)[0].replace("/", ".")
    # The data set itself, which `datamodule.root` follows, what an expert's signature follows, and files with a hash.
    if key in ("paths.videos", "algorithm.expert.overrides", "algorithm.expert_checkpoint", "network.weights"):
        return True
    return not any(key == excluded or key.startswith(f"{excluded}.") for excluded in EXCLUDED)


def identity(config: Mapping[str, Any], signed: bool = False) -> dict[str, Any]:
    """A resolved config (plain Python) without its machine-only keys, and without younger settings that leave all as
    before.

    Args:
        config: under today's names or former ones.
        signed: give settings the names that signatures know them by, their first ones, in place of today's.
    """

    def strip(node: Any, schema: type | None, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        node, former = renamed(node, schema), former_names(schema) if signed else {}
        inner = {key: f"{path}.{key}" if path else str(key) for key in node}
        below = {
            key: schema_below(schema, str(key), value) if isinstance(value, Mapping) else None
            for key, value in node.items()
        }
        neutral = neutral_keys(node, schema, path)
        stripped = {
            former.get(key, key): strip(node[key], below[key], where)
            for key, where in inner.items()
            if where not in EXCLUDED and key not in neutral
        }
        if signed and node.get("_target_") in FORMER_TARGETS:
            stripped["_target_"] = FORMER_TARGETS[node["_target_"]]
        return stripped

    stripped = strip(config, TrainConfig, "")
    assert isinstance(stripped, dict)
    return stripped


def signature(config: Mapping[str, Any]) -> str:
    """`r` and nine hexadecimal digits of the SHA-256 of the identity in canonical JSON.

    The letter keeps a signature a word on the command line: `run=268e4` would be read as the number 2680000.
    """
    canonical = json.dumps(identity(config, signed=True), sort_keys=True, separators=(",", ":"))
    return "r" + hashlib.sha256(canonical.encode()).hexdigest()[:9]


def difference(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Human-readable lines `key: stored -> asked` for all that differs in identity."""
    lines: list[str] = []

    def compare(a: Any, b: Any, path: str) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            for key in sorted({*a, *b}, key=str):
                compare(a.get(key, "(absent)"), b.get(key, "(absent)"), f"{path}.{key}" if path else str(key))
        elif a != b:
            lines.append(f"{path}: {a!r} -> {b!r}")

    compare(identity(stored), identity(asked), "")
    return lines

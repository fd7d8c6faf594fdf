"""Settings of what has no schema, known from its source: the Trainer's and an optimizer's; and keys that are not
there.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from visagent.config.reinforcement_schemas import RandomPolicySettings
from visagent.config.secant_schemas import PolicyAdaptationSettings
from visagent.config.settings import require
from visagent.config.trust import OPTIMIZER, TRAINER
from visagent.config.video_schemas import NetworkCostSettings
from visagent.errors import ConfigError

OURS: Mapping[str, str] = {
    "logger": "type logger=mlflow or logger=none",
    "callbacks": "a method's own hooks belong into its LightningModule",
    "plugins": "leave it out",
    "enable_progress_bar": "type progress=rich, progress=quiet or progress=none",
    "enable_checkpointing": "leave it out",
    "default_root_dir": "type paths.outputs=DIR or paths.run=DIR",
}
"""Arguments of the Trainer that every run sets itself; given by hand they would be forgotten in silence."""
EMA = "ema"
"""The Trainer's one setting that is ours: see `visagent.runtime.weight_average`."""
UNTRAINED = (RandomPolicySettings._target_, NetworkCostSettings._target_, PolicyAdaptationSettings._target_)
"""Methods that learn nothing, and so need no batch."""
NUMBERS = re.compile(
    r"(max|min)_(epochs|steps)|limit_\w+|overfit_batches|val_check_interval|\w+_every_n_\w+|num_\w+|accumulate_grad_batches|gradient_clip_val"
)
LARGEST = 2**31 - 1


def check_trainer(trainer: Mapping[str, Any], algorithm: str) -> None:
    """Refuse settings of the Trainer that would do nothing, or something else, in silence.

    Args:
        trainer: its config.
        algorithm: the method's `_target_`.

    Raises:
        ConfigError: naming the setting and what to type.
    """
    known = signature_keys(str(trainer["_target_"]))
    if trainer["_target_"] != TRAINER or known is None:
        return
    decay = trainer.get(EMA)
    require(
        decay is None or (isinstance(decay, float) and 0 < decay < 1),
        f"trainer.{EMA}",
        decay,
        "null, or 0.999 or another decay between 0 and 1",
    )
    for key, value in trainer.items():
        where = f"trainer.{key}"
        if key.startswith("_") or key == EMA:
            continue
        if key in OURS:
            raise ConfigError(f"{where}: visagent sets it itself, got {value!r}; {OURS[key]}")
        if key not in known:
            raise unknown_key(where, {*known, EMA} - set(OURS))
        require(not (isinstance(value, bool) and NUMBERS.fullmatch(key)), where, value, "a number")
    given = trainer.get

    def at_least(least: float, *keys: str) -> None:
        for key in keys:
            value = given(key)
            require(
                not isinstance(value, int | float) or value >= least,
                f"trainer.{key}",
                value,
                f"null, or at least {least:g}",
            )

    at_least(
        0, "gradient_clip_val", "num_sanity_val_steps", "log_every_n_steps", "limit_val_batches", "limit_test_batches"
    )
    at_least(1, "check_val_every_n_epoch", "accumulate_grad_batches", "min_epochs", "min_steps")
    batches = given("limit_train_batches")
    trains = algorithm in UNTRAINED or not isinstance(batches, int | float) or batches > 0
    require(
        trains,
        "trainer.limit_train_batches",
        batches,
        "null, at least 1 batch, or a share of them in (0.0, 1.0]: with none there is no training",
    )
    steps = given("max_steps", -1)
    require(
        not isinstance(steps, int) or steps == -1 or steps >= 1,
        "trainer.max_steps",
        steps,
        "-1 (no limit) or at least 1",
    )
    require(
        not given("fast_dev_run"),
        "trainer.fast_dev_run",
        given("fast_dev_run"),
        "false, as it keeps no run; for a run of seconds type debug=smoke",
    )
    devices = given("devices")
    require(
        not isinstance(devices, bool) and devices not in (0, "0"),
        "trainer.devices",
        devices,
        "auto, or at least 1 of them",
    )
    reload = given("reload_dataloaders_every_n_epochs", 1)
    require(
        reload == 1,
        "trainer.reload_dataloaders_every_n_epochs",
        reload,
        "1, as an epoch's data may depend on its number",
    )
    require(
        not given("use_distributed_sampler"),
        "trainer.use_distributed_sampler",
        True,
        "false, as DataModules divide their own batches",
    )


NUMERIC = ("lr", "momentum", "weight_decay", "eps")
"""Settings of optimizers, which have no schema, that are numbers."""


def check_numbers(values: Mapping[Any, Any], path: str) -> None:
    """Refuse settings of a dict that must be numbers and are not, or that are impossibly large.

    Raises:
        ConfigError: naming the setting.
    """
    for key, given in values.items():
        where = f"{path}.{key}" if path else str(key)
        for value in given if isinstance(given, list) else [given]:
            if key in NUMERIC:
                number = value is None or type(value) in (int, float)
                require(number and not isinstance(given, list), where, given, "a number, such as 0.001")
                require(value is None or not value < 0, where, value, "0 or a number above it, such as 0.001")
            if isinstance(value, float):
                require(math.isfinite(value), where, value, "a finite number")
            elif isinstance(value, int) and not str(key).endswith("seed"):
                require(abs(value) <= LARGEST, where, value, f"a whole number of at most {LARGEST}")


def unknown_key(path: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that is not there, naming the nearest that is."""
    parent, _, key = path.rpartition(".")
    names = [name for name in known if not name.startswith("_")]
    near = difflib.get_close_matches(key, names, 1, cutoff=0.7)
    if near:
        hint = f"did you mean {f'{parent}.' if parent else ''}{near[0]}?"
    else:
        hint = f"known here: {', '.join(sorted(names)) or 'nothing'}"
    return ConfigError(f"unknown config key {path!r}; {hint}")


@cache
def signature_keys(target: str) -> tuple[str, ...] | None:
    """The arguments of the Trainer or of one of torch's optimizers, read from its source: importing either takes
    seconds.

    Returns:
        None of anything else, and where the source says nothing.
    """
    if target == TRAINER:
        files = [_folder("pytorch_lightning") / "trainer" / "trainer.py"]
    elif OPTIMIZER.fullmatch(target):
        files = sorted((_folder("torch") / "optim").glob("*.py"))
    else:
        return None
    name = target.rpartition(".")[2]
    for file in files:
        source = file.read_text(encoding="utf-8") if file.is_file() else ""
        if re.search(rf"^class {name}\b", source, re.MULTILINE):
            return _arguments(ast.parse(source), name)
    return None


def _folder(package: str) -> Path:
    spec = find_spec(package)
    return Path(str(spec.origin)).parent if spec is not None else Path("nowhere")


def _arguments(module: ast.Module, name: str) -> tuple[str, ...] | None:
    for statement in module.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            for function in statement.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    names = [argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]]
                    return tuple(argument for argument in names if argument not in ("self", "params"))
    return None

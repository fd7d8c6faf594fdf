"""`visagent-info`: versions, devices, what is built, where things are stored, which runs there are, what settings
mean.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from visagent.config.presets import conf_folder, presets
from visagent.errors import ConfigError
from visagent.runtime.credentials import without_credentials
from visagent.runtime.queue import shown_state
from visagent.runtime.record import RunFolder, commit, hardware, versions
from visagent.runtime.tracking import tracking_uri


def main(arguments: Sequence[str] | None = None) -> int:
    """Print everything a bug report needs."""
    parser = argparse.ArgumentParser(
        prog="visagent-info", description="Versions, devices, what is built, where things are stored."
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="GROUP=NAME | run=SIGNATURE",
        help="settings: algorithm=ppo (or of another group) with values, bounds and meanings; run=r3f2 also where each "
        "was set",
    )
    parser.add_argument(
        "--outputs", type=Path, default=Path("outputs"), help="folder of runs and caches (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.what is not None:
        from visagent.runtime.settings_report import group_report, run_report

        key, equals, name = options.what.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"visagent-info: expected GROUP=NAME such as algorithm=ppo, or run=SIGNATURE, got {options.what!r}"
            )
        print(run_report(options.outputs, name) if key == "run" else group_report(key, name))
        return 0
    sections = {
        "versions": {**versions(), "commit": commit() or "not a checkout"},
        "devices": {**hardware(), **_accelerators()},
        "rendering": _rendering(),
        "features": _extractors(),
        "compiled": _op(),
        "stored": _storage(options.outputs),
    }
    for title, rows in sections.items():
        print(title)
        for key, value in rows.items():
            print(f"  {key:20} {value}")
    print("presets\n  " + "\n  ".join(presets()))
    _runs(options.outputs)
    return 0


def _accelerators() -> dict[str, str]:
    import torch

    devices = (
        {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        if torch.cuda.is_available()
        else {}
    )
    return {"torch threads": str(torch.get_num_threads()), **(devices or {"cuda": "none"})}


def _rendering() -> dict[str, str]:
    from visagent.headless import RenderingUnavailable
    from visagent.scenes.render import probe

    try:
        return {"headless OpenGL": f"works (MUJOCO_GL={probe()})"}
    except RenderingUnavailable as error:
        return {"headless OpenGL": f"missing: {error}"}


def _extractors() -> dict[str, str]:
    from visagent.errors import UserError
    from visagent.scenes.extractors import EXTRACTORS, build_extractor

    state: dict[str, str] = {}
    for name in EXTRACTORS:
        try:
            build_extractor(name)
            state[name] = "ready"
        except UserError as error:
            state[name] = f"missing: {error}"
    return state


def _op() -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its reason is shown here
        from cuda_ext.ops import BACKEND, WHY
    return {"shift op": f"{BACKEND} ({WHY})"}


def _storage(outputs: Path) -> dict[str, str]:
    tracking = tracking_uri({}, outputs)
    thor = (
        "installed" if importlib.util.find_spec("ai2thor") else "not installed (only for visagent-scenes from-ai2thor)"
    )
    return {
        "runs": str((outputs / "runs").resolve()),
        "scene cache": str((outputs / "cache" / "scenes").resolve()),
        "tracking": without_credentials(tracking),
        "configs": str(conf_folder()),
        "ai2thor": thor,
        "python": sys.executable,
    }


def _runs(outputs: Path) -> None:
    folders = sorted((outputs / "runs").glob("*/record.json"), key=lambda path: path.stat().st_mtime)
    if not folders:
        return
    print("runs (newest last)")
    for path in folders[-20:]:
        folder = RunFolder(path.parent)
        try:
            record = folder.load()
        except ConfigError as error:
            print(f"  unreadable: {error}")
            continue
        if record is not None:
            done = f"{record.env_steps:,} env steps  {record.seconds:.0f} s" + (
                "  (not all in MLflow yet)" if folder.unsent() else ""
            )
            print(
                f"  {record.signature}  {shown_state(folder, record):9} {record.name}  seed {record.seed}  "
                f"{record.scale}  {done}"
            )

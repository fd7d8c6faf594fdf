"""`visagent-info`: versions, devices, what is built, where things are stored, which runs there are, what settings
mean.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from visagent.config.extensions import conf_folder
from visagent.errors import ConfigError
from visagent.runtime.arguments import with_outputs
from visagent.runtime.credentials import without_credentials
from visagent.runtime.provenance import commit, hardware, versions
from visagent.runtime.runs_list import runs_of
from visagent.runtime.tracking import tracking_uri


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was asked for; everything a bug report needs where nothing was."""
    parser = argparse.ArgumentParser(
        prog="visagent-info",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Versions, devices, what is built, where things are stored; runs, settings.",
        epilog="""\
  visagent-info                           versions, devices, what is built, where things are stored
  visagent-info runs                      all runs, the newest last
  visagent-info runs ppo finished seed=0  those that all words match: states, parts of names, scales, KEY=VALUE
  visagent-info run=r3f2                  one: its numbers, and the settings that are not its options' own
  visagent-info run=r3f2 --full           all of its settings, with where each was set
  visagent-info presets [ppo ...]         experiments, those that all words match, and what each is
  visagent-info algorithm=ppo             the settings of an option of a group: values, bounds, meanings""",
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="see below")
    parser.add_argument(
        "--outputs", type=Path, default=Path("outputs"), help="folder of runs and caches (default: %(default)s)"
    )
    parser.add_argument("--full", action="store_true", help="all settings of a run")
    options = parser.parse_args(with_outputs(arguments))
    if options.what[:1] == ["presets"]:
        from visagent.config.help import in_full

        told = in_full(options.what[1:])
        print(told or f"no preset has {' and '.join(options.what[1:])} in its name or description")
        return 0 if told else 1
    if options.what[:1] == ["runs"]:
        from visagent.runtime.runs_list import list_runs

        return list_runs(options.outputs, options.what[1:])
    if options.what:
        from visagent.runtime.settings_report import group_report, run_report

        key, equals, name = options.what[0].partition("=")
        if not equals or not name or len(options.what) > 1:
            meant = f"; type run={key}" if re.fullmatch(r"r[0-9a-f]{3,}", key) else ""
            raise ConfigError(
                "visagent-info: expected presets, runs, run=SIGNATURE, or GROUP=NAME such as algorithm=ppo, got "
                f"{' '.join(options.what)!r}{meant}"
            )
        print(run_report(options.outputs, name, options.full) if key == "run" else group_report(key, name))
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
    runs, unreadable = runs_of(outputs)
    if runs or unreadable:
        print(f"runs (newest last{', 20 of them: visagent-info runs shows all' if len(runs) > 20 else ''})")
    for line in unreadable:
        print(f"  unreadable: {line}")
    for run in runs[-20:]:
        record = run.record
        done = f"{record.env_steps:,} env steps  {record.seconds:.0f} s" + (
            "  (not all in MLflow yet)" if run.folder.unsent() else ""
        )
        print(f"  {record.signature}  {run.state:9} {record.name}  seed {record.seed}  {record.scale}  {done}")

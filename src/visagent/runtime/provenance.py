"""What a result came from: the commit, the versions, the machine, the command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from visagent.config.extensions import extensions
from visagent.runtime.credentials import without_credentials

SOURCE = "src/visagent/runtime/provenance.py"
"""This file's place in a checkout."""
PACKAGES = ("visagent", "torch", "pytorch-lightning", "hydra-core", "mlflow", "numpy", "mujoco")


def commit() -> str:
    """The commit of the source tree, `+changes` where it differs from it; empty outside a checkout of it, within
    another one too.
    """
    file = Path(__file__).resolve()
    folder = file.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        # installed into someone's own repository
        if git("ls-files", "--full-name", "--error-unmatch", file.name) != SOURCE:
            return ""
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def versions() -> dict[str, str]:
    """Versions of what a result depends on; of installed extensions, too."""
    installed = {"python": platform.python_version()}
    for package in (*PACKAGES, *(each.distribution for each in extensions() if each.distribution)):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def hardware() -> dict[str, str]:
    """Processor, cores, memory."""
    model = platform.processor() or platform.machine()
    memory = "?"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        memory = f"{int(Path('/proc/meminfo').read_text().split()[1]) / 2**20:.0f} GiB"
    except (OSError, ValueError, IndexError):
        pass
    return {"cpu": model, "cores": str(os.cpu_count()), "memory": memory}


def command() -> str:
    """The command line to paste, the program by its name; of a sweep's child, the command that starts it alone."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        own = [word for word in HydraConfig.get().overrides.task if not word.startswith("prune=")]  # the search's
        return without_credentials(shlex.join(["visagent-train", *own]))
    return without_credentials(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))

"""The wheel alone, without the repository: every command, config, table and kernel source, from any folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from cuda_ext import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel, and all that it needs from this one, whose own visagent it does not see."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("src", "conf", "cuda_ext", "datamodules", "lightning_modules"):  # building leaves files beside them
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(folder / "source")], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = folder.glob("env/lib/*/site-packages")
    # A line of a .pth file is a folder of modules whose own .pth files are not read: no editable installation is found.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env", site


def digest(site):
    files = sorted(path for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_wheel_is_all_that_is_needed(installed, tmp_path):
    env, site = installed
    before = digest(site)
    needed = {
        "visagent/conf/table/rubiksnet/folds.yaml",
        "visagent/conf/train.yaml",
        "cuda_ext/csrc/rubiks_shift_cpu.cpp",
    }
    assert needed <= set(before)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # `digest` leaves bytecode out

    def run(command, *arguments, status=0):
        done = subprocess.run(
            [env / "bin" / command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, (command, arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    where = (
        "import visagent, cuda_ext, datamodules, lightning_modules as m; print(visagent.__file__, cuda_ext.__file__)"
    )
    assert run("python", "-c", where).count(str(site)) == 2
    commands = {entry.name for entry in entry_points(group="console_scripts") if entry.name.startswith("visagent-")}
    assert commands == {path.name for path in (env / "bin").glob("visagent-*")} and len(commands) >= 12
    for command in sorted(commands - {"visagent-mlflow-server"}):
        assert command in run(command, "--help")
    told = ("debug=smoke", "logger=none", "progress.bar=false")
    run("visagent-train", "experiment=rubiksnet/something_v2", *told)
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    run("visagent-evaluate", f"run={folder.name}")
    run("visagent-export", f"run={folder.name}", "trials=1")
    video = next((tmp_path / "outputs" / "cache").rglob("*.webm"))
    assert "%" in run("visagent-predict", f"run={folder.name}", str(video))
    assert folder.name in run("visagent-info")
    assert "rubiksnet/folds" in run("visagent-table", "--list")
    run("visagent-table", "rubiksnet/folds", "--scale", "smoke")
    assert digest(site) == before  # so that it may be read-only


def test_the_op_is_built_in_the_cache_where_an_installation_is_read_only(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "HERE", tmp_path / "site" / "cuda_ext")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build.os, "access", lambda *_: False)
    assert build._build_folder() == tmp_path / "cache" / "visagent" / "op"
    (tmp_path / "site" / "cuda_ext" / "_build").mkdir(parents=True)
    assert build._build_folder() == tmp_path / "site" / "cuda_ext" / "_build"

"""Shared fixtures; one torch thread per process, set before torch is imported."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# What `visagent.runtime.tracking.settle` gives MLflow for a process; here once, so that no test leaves it behind.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
os.environ.setdefault("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", "30")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import gc
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from multiprocessing import resource_sharer
from multiprocessing.heap import BufferWrapper
from pathlib import Path

import pygame  # noqa: F401 (before decord, with whose zlib it reads no PNG)
import pytest
import pytorch_lightning  # noqa: F401 (sets environment variables of its own when imported first)
import torch
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from chromium import DRIVER, Browser, free_port
from visagent.config.composition import Composed, composed, config_folder
from visagent.envs.navigation import SceneTables
from visagent.runtime import fitting
from visagent.runtime.record import Record
from visagent.runtime.train import train
from visagent.scenes.dump import list_dumps, read_dump
from visagent.testing.scenes import write_grid_dump

torch.set_num_threads(1)
with suppress(ImportError):  # it comes with dm_control
    from absl import logging as absl_logging

    # A command that runs in a test sets logging up anew, which closes all handlers. This one would close what it writes
    # to, pytest's capture of whichever test imported it, and with that the output of all tests that follow.
    absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

ROOT = Path(__file__).resolve().parent.parent
OPEN_PLAN = ("......", "......", "..##..", "......", "......")
U_PLAN = (".....", ".###.", ".###.", ".###.")
ACTING = ("ppo/", "ddpg/", "evolution/", "option_mappo/", "baseline/", "secant/")
"""Presets of families whose test episodes are filmed."""
SCENES = {"bathroom_01": OPEN_PLAN, "kitchen_01": U_PLAN}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker waits for another one's last test."""
    items.sort(key=lambda item: not any(item.get_closest_marker(mark) for mark in ("slow", "process")))


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """A test that leaves environment variables behind fails; log levels and handlers are put back."""
    before = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric", "mlflow")}
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    # of commands that ran in the test, whose console is gone
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)
    after = dict(os.environ)
    ours = {
        key for key in {*before, *after} if before.get(key) != after.get(key) and not key.startswith(("PYTEST", "RAY_"))
    }
    # Lightning, MuJoCo, gymnasium, pygame, OpenCV, robosuite, Ray and decord (PATH) set these themselves, the same in
    # every test.
    ours -= {
        "PL_GLOBAL_SEED",
        "PL_SEED_WORKERS",
        "MUJOCO_GL",
        "LP_NUM_THREADS",
        "PYOPENGL_PLATFORM",
        "KMP_INIT_AT_FORK",
        "KMP_DUPLICATE_LIB_OK",
        "PATH",
    }
    ours -= {
        "CUBLAS_WORKSPACE_CONFIG",
        "TORCHINDUCTOR_CACHE_DIR",
        "PYTORCH_NVML_BASED_CUDA_CHECK",
        "PYGAME_HIDE_SUPPORT_PROMPT",
        "SDL_VIDEODRIVER",
        "SDL_AUDIODRIVER",
        "QT_QPA_FONTDIR",
        "QT_QPA_PLATFORM_PLUGIN_PATH",
        "LD_LIBRARY_PATH",
        "PYTHONBREAKPOINT",
    }
    os.environ.clear()
    os.environ.update(before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    assert not ours, f"environment variables changed: {sorted(ours)}"


def _left() -> dict[str, object]:
    """Processes, open files and shared memory of this process."""
    gc.collect()
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    # of shared memory; the heap keeps free ones for later
    blocks = sum(len(used) for used in BufferWrapper._heap._allocated_blocks.values())
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return {
        "processes": children.read_text().split(),
        "pipes": sorted(link for link in links if link.startswith(("pipe:", "socket:"))),
        "shared": blocks,
    }


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """A test that leaves processes, pipes or shared memory behind fails."""
    multiprocessing.get_context("spawn").Lock()  # has the module start the tracker that it keeps for itself,
    os.close(resource_sharer.DupFd(0).detach())  # and the server of open files
    before = _left()
    yield
    after = _left()
    assert after == before


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of shared reference numbers; tests that need it skip without."""
    for folder in (Path(os.environ.get("VISAGENT_GOLDEN", "")), ROOT.parent / "shared" / "golden"):
        if folder.name and folder.is_dir():
            return folder
    pytest.skip("no golden folder beside the repository and VISAGENT_GOLDEN is not set")


@pytest.fixture(scope="session")
def empty_tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs, to copy: a fresh one takes seconds to make."""
    from visagent.runtime.tracking import connect

    folder = tmp_path_factory.mktemp("mlflow")
    connect(f"sqlite:///{folder}/mlflow.db", "template", folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this session, for what is expensive and only read."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def dumps(shared: Path) -> Path:
    """Two tiny scenes with random features."""
    folder = shared / "dumps"
    with FileLock(shared / "dumps.lock"):
        if len(list(folder.glob("*.h5"))) < len(SCENES):
            folder.mkdir(exist_ok=True)
            for seed, (name, plan) in enumerate(SCENES.items()):
                write_grid_dump(folder, name, plan, seed)
    return folder


@pytest.fixture(scope="session")
def tables(dumps: Path) -> SceneTables:
    """The two tiny scenes as tables."""
    return SceneTables([read_dump(path) for path in list_dumps(dumps).values()])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """The CPU, and a GPU where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)


Compose = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def known() -> Composed:
    """What tests compose, which they do once: a fifth of a second each."""
    return {}


@pytest.fixture
def compose(dumps: Path, videos: Path, tmp_path: Path, known: Composed) -> Compose:
    """Compose a preset as `visagent-train` would: tiny scenes or few small videos, no films, no tracking, everything
    under `tmp_path`.
    """

    def make(experiment: str, *overrides: str, tiny: bool = True) -> DictConfig:
        base = [
            f"experiment={experiment}",
            f"name={experiment}",
            "logger=none",
            "progress=none",
            f"paths.outputs={tmp_path}/outputs",
        ]
        if tiny:
            base += ["debug=smoke"]
            if experiment.startswith("navigation/"):
                base += [f"datamodule.scenes={dumps}", "datamodule.scene_names=[]"]
            elif experiment.startswith("rubiksnet/") and experiment not in ("rubiksnet/cost", "rubiksnet/latency"):
                base += [f"datamodule.cache={videos}"]
            elif experiment.startswith(ACTING):
                base += ["datamodule.film_episodes=0"]
        with config_folder():
            return composed([*base, *overrides], known)

    return make


Trained = Callable[..., tuple[Record, Path]]
DRAW = fitting.draw


@pytest.fixture
def trained(compose: Compose, shared: Path) -> Trained:
    """Train as `compose` has it, once in a session; for tests that only read the run.

    Returns:
        a function that gives the record, and the folder in which `comparing.folder_of` finds the run.
    """

    def run(experiment: str, *overrides: str) -> tuple[Record, Path]:
        outputs = shared / "trained"
        config = compose(experiment, *overrides, f"paths.outputs={outputs}")
        lock = FileLock(shared / f"{sha256(OmegaConf.to_yaml(config).encode()).hexdigest()}.lock")
        with lock, pytest.MonkeyPatch.context() as patch:
            patch.setattr(fitting, "draw", DRAW)  # whichever test comes first
            return train(config), outputs  # of a finished run its record

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no pictures, which takes longer than their training."""
    monkeypatch.setattr(fitting, "draw", lambda *_: None)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Headless Chromium."""
    port = free_port()
    process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        opened = Browser(port, tmp_path / "profile")
        yield opened
        opened.close()
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def videos(shared: Path) -> Path:
    """A cache of synthetic videos, filled as they are asked for."""
    return shared / "videos"


@pytest.fixture(scope="session")
def synthetic(videos: Path) -> Callable[[str], Path]:
    """The folder of a small synthetic data set in a layout, that of debug=smoke: 16 training videos of 32 x 32 pixels,
    8 for validation.
    """
    from visagent.video.make import Recipe, make

    def made(layout: str) -> Path:
        recipe = Recipe(layout, 16, 8, 32, 0)
        for _ in make(recipe, videos / recipe.name, 1):
            pass
        return videos / recipe.name

    return made

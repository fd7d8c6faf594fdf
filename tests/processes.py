"""`visagent-train` in a process of its own, and what the only run of an outputs folder left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

BIN = Path(sys.executable).parent


def run(*args):
    done = subprocess.run([str(BIN / "visagent-train"), *args], capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(f"{args} exited with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def record(outputs):
    (path,) = Path(outputs).glob("runs/*/record.json")
    return json.loads(path.read_text())


def checkpoint(outputs):
    (path,) = Path(outputs).glob("runs/*/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)

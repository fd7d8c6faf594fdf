"""What a run left, and whether two of them are the same."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from visagent.runtime.run_folder import RunFolder


def folder_of(record, tmp_path) -> RunFolder:
    (path,) = Path(tmp_path).glob(f"**/runs/{record.signature}")
    return RunFolder(path)


def checkpoint(record, tmp_path) -> dict:
    return torch.load(folder_of(record, tmp_path).checkpoint, weights_only=True)


def assert_same(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}[{index}]")
    elif torch.is_tensor(one):
        assert torch.equal(one, other), path
    else:
        assert one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other)), path

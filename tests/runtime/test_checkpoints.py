"""Checkpoints: on the disk, two of them, verified; what is said of broken, foreign, older and newer ones."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from visagent.errors import ConfigError, UserError
from visagent.runtime.callbacks import AtomicCheckpointIO
from visagent.runtime.checkpoints import (
    check_checkpoint,
    check_content,
    checkpoint_to_resume,
    damage,
    reading_checkpoint,
)
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train

PRESET = "navigation/behaviour_cloning"
CONTENT = {
    "state_dict": {"w": torch.arange(1000.0)},
    "epoch": 1,
    "global_step": 2,
    "loops": {},
    "optimizer_states": [],
    "random_state": {},
}


@pytest.fixture
def folder(tmp_path):
    """A run folder with the checkpoints of two epochs."""
    run = RunFolder(tmp_path)
    for epoch in (0, 1):
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "epoch": epoch}, run.checkpoint)
    return run


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0xFF
    path.write_bytes(content)


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def test_the_last_two_are_kept_and_nothing_else(folder):
    assert {path.name for path in folder.checkpoint.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert epoch_of(folder.checkpoint) == 1 and epoch_of(folder.previous_checkpoint) == 0
    assert checkpoint_to_resume(folder) == check_checkpoint(folder) == folder.checkpoint


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, original=original: (done.append(name), original(*args))[1]
        )
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    assert done == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_flipped_bytes_are_noticed_and_the_epoch_before_goes_on(share, folder, caplog):
    flip(folder.checkpoint, share)
    assert "does not have the sum that it was written with" in damage(folder.checkpoint)
    with pytest.raises(ConfigError, match=r"(?s)last\.ckpt: expected a whole file.*mv .*previous\.ckpt .*last\.ckpt"):
        check_checkpoint(folder)  # numbers of another epoch are not this run's
    assert checkpoint_to_resume(folder) == folder.previous_checkpoint
    assert "going on from previous.ckpt, one epoch earlier" in caplog.text
    AtomicCheckpointIO().save_checkpoint(CONTENT, folder.checkpoint)  # the broken one does not push the whole one out
    assert damage(folder.previous_checkpoint) is None and epoch_of(folder.previous_checkpoint) == 0


def test_every_byte_of_the_data_counts(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.arange(300.0)}}, tmp_path / "x.ckpt")
    whole = (tmp_path / "x.ckpt").read_bytes()
    at = whole.index(torch.arange(300.0).numpy().tobytes()[:64])
    for place in range(at, at + 1200, 97):
        broken = bytearray(whole)
        broken[place] ^= 1
        (tmp_path / "x.ckpt").write_bytes(broken)
        assert damage(tmp_path / "x.ckpt") is not None


@pytest.mark.parametrize("how", ["cut", "empty", "text", "missing"])
def test_a_lost_checkpoint_falls_back(how, folder, caplog):
    last = folder.checkpoint
    {
        "cut": lambda: os.truncate(last, last.stat().st_size // 2),
        "empty": lambda: os.truncate(last, 0),
        "text": lambda: last.write_text("hello"),
        "missing": last.unlink,
    }[how]()
    assert checkpoint_to_resume(folder) == folder.previous_checkpoint and "one epoch earlier" in caplog.text


def test_two_broken_ones_say_what_to_do(folder):
    os.truncate(folder.checkpoint, 100)
    os.truncate(folder.previous_checkpoint, 100)
    with pytest.raises(ConfigError, match=r"(?s)last\.ckpt: expected a whole file.*delete it to train the run anew"):
        checkpoint_to_resume(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("random_state"), "got one that lacks random_state; move it away"),
        (
            lambda c: [c.pop(key) for key in list(c) if key not in ("state_dict", "epoch")],
            "got one that lacks global_step, loops",
        ),
        (
            lambda c: c.update({"pytorch-lightning_version": "1.9.0"}),
            r"expected one of Lightning 2, got one of 1\.9\.0",
        ),
        (
            lambda c: c.update(visagent={"format": 2}),
            r"written by a later version of visagent; nothing is wrong with it: update",
        ),
    ],
)
def test_foreign_old_and_newer_content_says_why(change, said, tmp_path):
    content = dict(CONTENT)
    change(content)
    TorchCheckpointIO().save_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(ConfigError, match=said) as caught:
        AtomicCheckpointIO().load_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert "delete" not in str(caught.value)


def test_a_newer_lightning_is_a_warning(caplog):
    check_content(Path("x"), {**CONTENT, "pytorch-lightning_version": "99.1.0"})
    assert "newer than the installed" in caplog.text


def test_objects_and_other_archives_are_refused(tmp_path):
    torch.save({**CONTENT, "extra": Path("x")}, tmp_path / "object.ckpt")
    with pytest.raises(ConfigError, match="expected tensors and plain values, which load without running code"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "object.ckpt", weights_only=True)
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ConfigError, match=r"expected a file of torch\.save, got another archive"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "other.ckpt", weights_only=True)


def test_errors_of_ours_stay_errors():
    with pytest.raises(KeyError, match="mine"), reading_checkpoint(Path("x")):
        raise KeyError("mine")


def test_a_full_disk_leaves_no_part_and_keeps_the_last(folder, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            AtomicCheckpointIO().save_checkpoint(CONTENT, folder.checkpoint)
    assert caught.value.filename == str(folder.checkpoint)
    assert {path.name for path in folder.checkpoint.parent.iterdir()} == {"last.ckpt", "previous.ckpt"} and epoch_of(
        folder.checkpoint
    ) == 1


def test_a_run_on_a_disk_that_fills_is_failed_with_the_reason_and_resumes(compose, monkeypatch):
    original = AtomicCheckpointIO.save_checkpoint

    def fills(self, checkpoint, path, storage_options=None):
        if checkpoint["epoch"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(self, checkpoint, path, storage_options)

    config = compose(PRESET)
    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", fills)
        with pytest.raises(UserError, match=r"last\.ckpt: No space left on device; free some"):
            train(config)
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    record = json.loads(path.read_text())
    assert (
        record["status"] == "FAILED"
        and "No space left on device" in record["error"]
        and "Traceback" not in record["error"]
    )
    assert "No space left on device" in (path.parent / "log.txt").read_text()
    # Weights of another network in the checkpoint: no traceback either.
    last = RunFolder(path.parent).checkpoint
    kept = last.read_bytes()
    content = torch.load(last, weights_only=True)
    content["state_dict"].pop(next(iter(content["state_dict"])))
    torch.save(content, last)
    with pytest.raises(ConfigError, match=r"expected settings with the run's network .*Missing key"):
        train(compose(PRESET))
    last.write_bytes(kept)
    shutil.copy(last, RunFolder(path.parent).previous_checkpoint)
    os.truncate(last, 1000)
    assert train(compose(PRESET)).status == "FINISHED"

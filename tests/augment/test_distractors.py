"""Pictures of a user's folder that are mixed in."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visagent.augment import distractors
from visagent.augment.distractors import pictures_below, read_distractors
from visagent.augment.images import cutmix, mixup
from visagent.augment.pools import AugmentationPool
from visagent.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two plain pictures, of other sizes and in folders, and files that are none."""
    (tmp_path / "below").mkdir()
    Image.new("RGB", (60, 40), (200, 0, 0)).save(tmp_path / "b.png")
    Image.new("L", (30, 90), 70).save(tmp_path / "below" / "a.JPG")
    (tmp_path / "labels.txt").write_text("no picture")
    return tmp_path


def test_pictures_of_every_size_and_mode_become_squares(folder):
    pictures = read_distractors(str(folder), 16)
    assert pictures.dtype == torch.uint8 and pictures.shape == (2, 3, 16, 16)
    assert pictures[0].flatten(1).unique(dim=1)[:, 0].tolist() == [200, 0, 0]
    assert (pictures[1].int() - 70).abs().max() <= 2  # JPEG


def test_a_picture_is_cut_around_its_middle(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert read_distractors(str(tmp_path), 8).unique().tolist() == [255]


def test_a_broken_picture_is_left_out_and_said(folder, caplog):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with caplog.at_level(logging.WARNING):
        assert len(read_distractors(str(folder), 8)) == 2
    assert "1 of 3 pictures" in caplog.text and "a.png" in caplog.text


@pytest.mark.parametrize("made, said", [(False, "is no folder"), (True, "has none")])
def test_a_folder_without_pictures_is_refused(tmp_path, made, said):
    folder = tmp_path / "pictures"
    if made:
        folder.mkdir()
    with pytest.raises(ConfigError, match=f"algorithm.distractors: .*{said}"):
        pictures_below(str(folder))


def test_where_no_picture_can_be_read_nothing_is_trained(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="1 of 1 pictures"):
        read_distractors(str(tmp_path), 8)


def test_of_many_pictures_those_at_equal_distances_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(distractors, "MOST", 3)
    for number in range(6):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
    assert [path.stem for path in pictures_below(str(tmp_path))] == ["0", "2", "4"]


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_whole_numbers_are_mixed_as_others(mix):
    pictures = torch.rand(4, 9, 12, 12) * 255
    others = torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8)
    mixed = [mix(pictures, torch.Generator().manual_seed(0), each, 0.1) for each in (others, others.float())]
    assert torch.equal(*mixed)


def test_a_pool_mixes_in_the_pictures_of_the_folder(folder):
    pool = AugmentationPool("cutmix", 12, 0, folder=str(folder))
    mixed = pool(torch.zeros(8, 9, 12, 12), torch.Generator().manual_seed(0))
    assert {200.0} <= set(mixed[:, 0].unique().tolist()) and mixed.max() == 200

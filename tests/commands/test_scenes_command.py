"""`visagent-scenes` in this process."""

from __future__ import annotations

import sys
from types import ModuleType

import h5py
import numpy as np
import pytest

from visagent.errors import ConfigError, MissingFileError
from visagent.scenes.command import main
from visagent.scenes.dump import read_dump
from visagent.scenes.thor import ThorUnavailable
from visagent.testing.scenes import write_grid_dump


def test_check_and_info(dumps, tmp_path, capsys):
    assert main(["check", str(dumps)]) == 0
    shown = capsys.readouterr().out
    assert "bathroom_01" in shown and "kitchen_01" in shown and "alike" in shown and "views most alike" in shown
    assert main(["info", str(dumps / "kitchen_01.h5")]) == 0
    shown = capsys.readouterr().out
    assert "resnet_feature" in shown and "fingerprint" in shown and "(kitchen)" in shown
    broken = write_grid_dump(tmp_path, "bedroom_01", ("...", "..."))
    with h5py.File(broken, "r+") as file:
        file["shortest_path_distance"][...] = 1
    assert main(["check", str(broken), str(dumps)]) == 1
    shown = capsys.readouterr().out
    assert "matrix of ones" in shown and "kitchen_01" in shown  # the sound ones are shown all the same
    assert main(["check", str(broken), "--fix"]) == 0
    assert read_dump(broken).distance.max() > 1
    assert main(["check", str(tmp_path / "nowhere.h5")]) == 1
    assert "no such file" in capsys.readouterr().out
    with pytest.raises(MissingFileError, match="found zero"):
        (tmp_path / "empty").mkdir()
        main(["check", str(tmp_path / "empty")])


def test_view_writes_pictures(dumps, tmp_path, capsys):
    path = write_grid_dump(tmp_path, "attic", ("....", "...."))
    with h5py.File(path, "r+") as file:
        del file.attrs["visagent_generator"]
    assert main(["view", str(path), "--out", str(tmp_path / "views"), "--count", "4"]) == 0
    assert sorted(p.name for p in (tmp_path / "views").iterdir()) == ["attic_candidates.png", "attic_map.png"]
    with pytest.raises(ConfigError, match=r"--states: expected states in 0\.\.31, got 99"):
        main(["view", str(path), "--states", "1,99", "--out", str(tmp_path)])


@pytest.mark.rendering
def test_make_with_seeds(tmp_path, capsys):
    arguments = ["make", str(tmp_path), "--rooms", "bathroom", "--count", "1", "--layout-seed", "3", "--extractor", "random_resnet50", "--workers", "1"]
    assert main(arguments) == 0
    scene = read_dump(tmp_path / "bathroom_01.h5")
    assert scene.attributes["layout_seed"] == 3001 and scene.attributes["extractor"] == "random_resnet50"
    assert main(arguments) == 0
    assert "0 made, 1 there already" in capsys.readouterr().out
    assert main(["view", str(tmp_path / "bathroom_01.h5"), "--out", str(tmp_path / "views"), "--count", "3"]) == 0
    assert (tmp_path / "views" / "bathroom_01_top.png").is_file()


def test_ai2thor_is_asked_for_clearly():
    with pytest.raises(ThorUnavailable, match=r"pip install 'visagent\[thor\]'"):
        main(["from-ai2thor", "FloorPlan1"])


class FakeController:
    """Answers the two actions that the converter uses, for a 2 x 2 room."""

    def __init__(self, **settings):
        self.settings, self.stopped = settings, False

    def step(self, action, position=None, rotation=None):
        class Event:
            metadata = {"actionReturn": [{"x": x, "y": 0.9, "z": z} for x in (1.0, 1.5) for z in (-0.5, 0.0)]}
            frame = None

        event = Event()
        if action == "Teleport":
            event.frame = np.full((300, 400, 3), int(position["x"] * 50 + position["z"] * 20 + rotation["y"] / 4), np.uint8)
        return event

    def stop(self):
        self.stopped = True


def test_from_ai2thor_writes_a_valid_dump(tmp_path, monkeypatch, capsys):
    package, module = ModuleType("ai2thor"), ModuleType("ai2thor.controller")
    module.Controller = FakeController  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai2thor", package)
    monkeypatch.setitem(sys.modules, "ai2thor.controller", module)
    assert main(["from-ai2thor", "FloorPlan401", "--folder", str(tmp_path), "--extractor", "random_resnet50"]) == 0
    scene = read_dump(tmp_path / "FloorPlan401.h5")
    assert len(scene) == 16 and scene.room_type == "bathroom" and (scene.distance >= 0).all()
    assert scene.location.min(axis=0).tolist() == [1.0, -0.5]
    for state in (0, 7, 13):
        x, z = scene.location[state]
        assert scene.observation([state])[0, 0, 0, 0] == int(x * 50 + z * 20 + scene.rotation[state] / 4)

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
from visagent.scenes.thor import ThorFailed, ThorUnavailable, convert, grid_cells
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
    arguments = [
        "make",
        str(tmp_path),
        "--rooms",
        "bathroom",
        "--count",
        "1",
        "--layout-seed",
        "3",
        "--extractor",
        "random_resnet50",
        "--workers",
        "1",
    ]
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

    columns, rows = (1.0, 1.5), (-0.5, 0.0)
    blocked: tuple[float, float, int] | None = None

    def __init__(self, **settings):
        self.settings, self.stopped = settings, False

    def step(self, action, position=None, rotation=None):
        class Event:
            metadata = {
                "actionReturn": [{"x": x, "y": 0.9, "z": z} for x in self.columns for z in self.rows],
                "lastActionSuccess": True,
            }
            frame = None

        event = Event()
        if position and (position["x"], position["z"], rotation["y"]) == self.blocked:
            event.metadata = {"actionReturn": None, "lastActionSuccess": False, "errorMessage": "Chair is in the way"}
        if action == "Teleport":
            event.frame = np.full(
                (300, 400, 3), int(position["x"] * 50 + position["z"] * 20 + rotation["y"] / 4), np.uint8
            )
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


def test_from_ai2thor_notices_a_failed_teleport(tmp_path):
    controller = FakeController()
    controller.blocked = (1.5, 0.0, 90)
    with pytest.raises(
        ThorFailed, match=r"did not teleport to \{'x': 1.5, 'y': 0.9, 'z': 0.0\}, 90 degrees \(Chair is in the way\)"
    ):
        convert("FloorPlan1", tmp_path, "random_resnet50", controller=controller)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("begin", [-0.75, -0.5, -0.2500001, 0.0, 0.25, 1.1])
def test_positions_are_counted_from_the_smallest(begin):
    """Rounded as they are, -0.75, -0.25 and 0.25 are two cells of half a metre."""
    columns = [begin + 0.5 * step for step in range(4)]
    found, origin = grid_cells("FloorPlan1", [{"x": x, "y": 0.9, "z": z} for x in columns for z in (2.25, 2.75)][::-1])
    assert set(found) == {(column, row) for column in range(4) for row in range(2)} and found[3, 0]["x"] == columns[3]
    assert origin.tolist() == pytest.approx([begin, 2.25], abs=1e-3)


@pytest.mark.parametrize("columns", [(0.0, 0.25, 0.5), (0.0, 0.0)])
def test_positions_on_another_grid_are_refused(columns):
    with pytest.raises(ThorFailed, match=r"expected reachable positions on a grid of 0\.5 m"):
        grid_cells("FloorPlan1", [{"x": x, "z": 0.0} for x in columns])

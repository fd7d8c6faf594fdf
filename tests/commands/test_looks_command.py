"""`visagent-looks`: tasks beside looks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from PIL import Image

from visagent.config.secant_schemas import LOOKS
from visagent.errors import ConfigError
from visagent.runtime.looks import families, main


@pytest.mark.skipif(find_spec("dm_control") is None, reason="dm_control is not installed")
def test_a_sheet_has_a_picture_for_each_task_and_look(tmp_path):
    path = tmp_path / "new" / "sheet.png"
    main(["--tasks", "reacher_easy", "--looks", "train,color_uniform", "--to", str(path), "datamodule.env.pixels=24"])
    with Image.open(path) as sheet:
        assert sheet.width > 1.5 * sheet.height and len(sheet.convert("RGB").getcolors(1 << 20)) > 20


def test_tasks_and_looks_that_there_are_not():
    suite, hands, rooms = families()
    assert len(suite.tasks) == 8 and len(hands.tasks) == 4 and rooms.tasks == ["rooms"]
    with pytest.raises(ConfigError, match=r"--tasks: expected some of door_opening, .*, got walker_walk"):
        main(["--tasks", "two_arm_lifting,walker_walk"])
    with pytest.raises(
        ConfigError, match="--looks: expected some of train, narrow, easy, hard, extreme, got video_easy"
    ):
        main(["--tasks", "two_arm_lifting", "--looks", "video_easy"])
    with pytest.raises(ConfigError, match=r"--tasks: expected some of ball_in_cup_catch, .*, got pendulum"):
        main(["--tasks", "pendulum"])
    with pytest.raises(ConfigError, match=f"--looks: expected some of {', '.join(LOOKS)}, got purple"):
        main(["--looks", "train,purple"])

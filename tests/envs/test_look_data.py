"""Looks from files as DMControl-GB keeps them: colours pickled with NumPy's numbers, folders of films."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from visagent.envs.dm_control_world import DMControlWorlds
from visagent.envs.look_data import StoredFilm, stored_colours, stored_films
from visagent.envs.looks import STOCK, Colours
from visagent.errors import ConfigError, MissingFileError
from visagent.video.decode import write_video

SUITE = pytest.mark.skipif(find_spec("dm_control") is None, reason="dm_control is not installed")
RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)


@pytest.fixture
def folder(tmp_path):
    """Two settings, and a film whose pictures are told apart by their brightness."""
    settings = [
        {"grid_rgb1": np.array(RED), "grid_rgb2": np.array(BLUE), "self_rgb": np.array(BLUE), "skybox_rgb": [0, 1, 0]},
        {"grid_rgb1": [np.float64(channel) for channel in BLUE]},
    ]
    torch.save(settings, tmp_path / "color_hard.pt")
    (tmp_path / "video_hard").mkdir()
    frames = np.stack([np.full((64, 96, 3), 25 * number, np.uint8) for number in range(10)])
    with ProcessPoolExecutor(
        1, get_context("spawn")
    ) as pool:  # decord may be loaded here, beside which nothing encodes
        pool.submit(write_video, tmp_path / "video_hard" / "video0.mp4", frames, "libx264", 10).result()
    (tmp_path / "video_hard" / "notes.txt").write_text("no film")
    return tmp_path


def test_settings_are_read_as_they_are(folder):
    first, second = stored_colours(folder / "color_hard.pt")
    assert first == Colours(RED, BLUE, (0.0, 1.0, 0.0), BLUE)
    assert second == Colours(BLUE, STOCK.body, STOCK.sky, None)  # what is not said stays as it is


def test_a_file_that_would_run_code_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    torch.save([Payload()], tmp_path / "color_easy.pt")
    with pytest.raises(ConfigError, match=r"color_easy.pt: expected a list of DMControl-GB's settings"):
        stored_colours(tmp_path / "color_easy.pt")
    assert not ran.exists()


def test_a_film_begins_again_at_its_end(folder):
    (path,) = stored_films(folder / "video_hard")
    film = StoredFilm(path, 32, 7)
    assert film.frames.shape == (7, 32, 32, 3)
    brightness = [film(number).mean() for number in range(14)]
    np.testing.assert_allclose(brightness[:7], 25 * np.arange(7), atol=6)
    assert brightness[7:] == brightness[:7]


@SUITE
def test_worlds_show_them(folder):
    def seen(look, seed):
        world = DMControlWorlds("cartpole", "swingup", "pixels", 48, look=look, look_data=str(folder)).make()
        try:
            first = world.reset(seed)["pixels"]
            return first, world.step(np.zeros(1))[0]["pixels"]
        finally:
            world.close()

    skies = {tuple(seen("color_hard", seed)[0][:, 2, 24].tolist()) for seed in range(8)}
    assert len(skies) == 2  # those of the two settings
    first, second = seen("video_hard", 0)
    assert (first[:, 2, 2] < 10).all() and (np.abs(second[:, 2, 2].astype(int) - 25) < 8).all()
    made = DMControlWorlds("cartpole", "swingup", "pixels", look="color_uniform", look_data=str(folder))
    assert not made.stored  # of which there are no files


@pytest.mark.parametrize(("look", "named"), [("color_easy", "color_easy.pt"), ("video_easy", "video_easy")])
def test_what_is_not_there_is_named(folder, look, named):
    with pytest.raises(MissingFileError, match=f"with {named} for look={look}, got .* type datamodule.env.look_data="):
        DMControlWorlds("cartpole", "swingup", "pixels", look=look, look_data=str(folder))
    (folder / "video_easy").mkdir()
    with pytest.raises(MissingFileError, match=r"expected films .* got a folder without any"):
        stored_films(folder / "video_easy")

"""Looks: their colours, the green that films take the place of, that they follow from an episode's seed."""

from __future__ import annotations

import colorsys
from importlib.util import find_spec

import numpy as np
import pytest

from visagent.config import secant_schemas
from visagent.envs.dm_control_world import DRESSED, DMControlWorlds
from visagent.envs.looks import COLOURS, LOOKS, STOCK, colours_of, green_key
from visagent.errors import ConfigError
from visagent.textures import DriftingFields, coloured_field

SUITE = pytest.mark.skipif(find_spec("dm_control") is None, reason="dm_control is not installed")
TASKS = {
    "ball_in_cup": "catch", "cartpole": "swingup", "cheetah": "run", "finger": "spin", "reacher": "easy",
    "walker": "walk",
}  # fmt: skip


def drawn_colours(look, count=1000):
    rng = np.random.default_rng(0)
    drawn = [colours_of(look, rng) for _ in range(count)]
    return np.array([[one.grid, one.body, one.sky] for one in drawn])


@pytest.mark.parametrize(("look", "deviation"), [("color_narrow", 0.05), ("color_easy", 0.1), ("color_hard", 0.2)])
def test_colours_are_normal_around_the_stock_ones(look, deviation):
    stock, drawn = np.array([STOCK.grid, STOCK.body, STOCK.sky]), drawn_colours(look)
    expected = (stock + np.random.default_rng(1).normal(0, deviation, (200_000, 3, 3))).clip(0, 1)
    np.testing.assert_allclose(drawn.mean(axis=0), expected.mean(axis=0), atol=4 * deviation / np.sqrt(1000))
    np.testing.assert_allclose(drawn.std(axis=0), expected.std(axis=0), rtol=0.1)
    channels = drawn.reshape(1000, 9)
    assert np.abs(np.corrcoef(channels.T) - np.eye(9)).max() < 0.15  # each is drawn on its own


def test_any_colour_and_the_stock_ones():
    assert drawn_colours("color_uniform").mean() == pytest.approx(0.5, abs=0.02)
    assert drawn_colours("color_uniform").std() == pytest.approx(np.sqrt(1 / 12), abs=0.01)
    assert {colours_of(look, np.random.default_rng(0)) for look in LOOKS if look not in COLOURS} == {STOCK}
    assert LOOKS == secant_schemas.LOOKS


def test_the_key_is_that_of_a_loop():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    grid = np.array([0, 40, 69, 70, 71, 120, 128, 200, 255])
    corners = np.stack(np.meshgrid(grid, grid, grid), axis=-1).reshape(27, 27, 3).astype(np.uint8)
    for image in (picture, corners):
        key = green_key(image)
        for row, column in np.ndindex(*image.shape[:2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255.0))
            slack = 1e-9  # on a border the rounding of a float decides
            green = 100 - slack <= 360 * hue <= 185 + slack and saturation >= 80 / 255 - slack
            assert key[row, column] == (green and value >= 70 / 255 - slack), image[row, column]


def test_fields_are_those_of_a_seed_and_go_on_at_their_edges():
    one, same, other = (coloured_field(np.random.default_rng(seed), 32) for seed in (0, 0, 1))
    assert one.shape == (32, 32, 3) and one.min() >= 0 and one.max() <= 1
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    step, seam = np.abs(np.diff(one, axis=0)).mean(), np.abs(one[0] - one[-1]).mean()
    assert seam < 2 * step
    film = DriftingFields(np.random.default_rng(0), 32)
    assert film(0).dtype == np.uint8 and np.array_equal(film(3), film(3)) and not np.array_equal(film(3), film(4))


@SUITE
@pytest.mark.rendering
@pytest.mark.parametrize("domain", DRESSED)
def test_the_key_takes_no_pixel_of_a_robot(domain):
    """Where all behind a robot is green, the key takes that alone."""
    robot = {}
    for look in ("train", "video_hard"):
        world = DMControlWorlds(domain, TASKS[domain], observe="pixels", pixels=84, look=look).make()
        world.reset(0)
        world.film = None
        picture, segments = world.picture(), world.env.physics.render(240, 240, camera_id=0, segmentation=True)
        names = [world.env.physics.model.id2name(number, "geom") for number in range(world.env.physics.model.ngeom)]
        scenery = [number for number, name in enumerate(names) if name in ("floor", "ground", "background")]
        moving = (segments[..., 1] == 5) & ~np.isin(segments[..., 0], scenery)  # 5: mjOBJ_GEOM
        robot[look] = picture, moving
        world.close()
    picture, moving = robot["video_hard"]
    assert np.array_equal(moving, robot["train"][1]) and moving.sum() > 100
    inner = moving.copy()  # at its edge samples of the green mix with the robot's
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(moving, shift, axis)
    assert not green_key(picture)[inner].any()
    assert green_key(picture)[~moving].mean() > 0.5 and not green_key(robot["train"][0]).any()


@SUITE
@pytest.mark.rendering
@pytest.mark.parametrize("look", LOOKS[1:])
def test_a_look_follows_from_the_episodes_seed(look):
    worlds = DMControlWorlds("cartpole", "swingup", observe="pixels", pixels=32, look=look, action_repeat=8)
    world, other = worlds.make(), worlds.make()
    first, second, again = (world.reset(seed)["pixels"] for seed in (1, 2, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, second)
    assert np.array_equal(other.reset(1)["pixels"], first)
    moved, state = world.step(np.zeros(1))[0]["pixels"], world.env.physics.state()
    assert np.abs(moved.astype(int) - first).mean() > (1 if look.startswith("video") else 0)  # films go on
    plain = DMControlWorlds("cartpole", "swingup", action_repeat=8).make()
    plain.reset(1), plain.step(np.zeros(1))
    np.testing.assert_array_equal(plain.env.physics.state(), state)  # nothing but the look differs
    for each in (world, other, plain):
        each.close()


@SUITE
def test_domains_without_looks():
    assert DMControlWorlds("hopper", "hop", observe="state").make() is not None
    with pytest.raises(ConfigError, match="look=color_hard: expected a domain that has looks, ball_in_cup, cartpole"):
        DMControlWorlds("hopper", "hop", observe="pixels", look="color_hard").make()


def test_looks_that_are_none():
    with pytest.raises(ConfigError, match=r"expected one of train, color_narrow, .*, got 'purple'"):
        DMControlWorlds("cartpole", "swingup", observe="pixels", look="purple")
    with pytest.raises(ConfigError, match="look=video_easy: expected worlds that show pictures, got the state alone"):
        DMControlWorlds("cartpole", "swingup", look="video_easy")

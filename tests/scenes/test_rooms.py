"""The embedded rooms: layout, light, frames, features, dumps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from visagent.errors import ConfigError
from visagent.scenes.check import aliasing, check_scene
from visagent.scenes.dump import read_dump
from visagent.scenes.extractors import ExtractorUnavailable, build_extractor
from visagent.scenes.graph import mean_distance, shortest_path_distance
from visagent.scenes.layout import PROGRAMMES, ROOM_TYPES, build_room, inside, overlaps
from visagent.scenes.make import is_made, make_scenes, recipe_for, recipes
from visagent.scenes.targets import THOR_TARGETS, pick_targets, targets_at_distance
from visagent.testing.scenes import grid_scene

GOLDEN = Path(__file__).parent.parent / "golden" / "efficientnet_lite0.json"


@pytest.mark.parametrize("kind", ROOM_TYPES)
def test_mean_shortest_paths_are_near_the_papers(kind):
    """Five rooms each, as the defaults make them: within 25 % of Table 1's average shortest length."""
    means = [mean_distance(build_room(kind, r.layout_seed, r.style_seed).distance) for r in recipes((kind,))]
    assert np.mean(means) == pytest.approx(PROGRAMMES[kind].mean_path, rel=0.25)


@pytest.mark.parametrize("kind", ROOM_TYPES)
def test_rooms_are_sound(kind):
    room = build_room(kind, 3, 3)
    assert (room.distance >= 0).all()  # one connected part
    np.testing.assert_array_equal(room.distance, shortest_path_distance(room.graph))
    outer = (0.0, 0.0, room.width, room.depth)
    standing = [p for p in room.placed if not p.piece.flat]
    assert all(inside(p.footprint(), outer) for p in standing)
    for i, one in enumerate(standing):
        assert not any(overlaps(one.footprint(), other.footprint(), -1e-6) for other in standing[:i])
    names = [p.piece.name for p in room.placed]
    assert set(PROGRAMMES[kind].required) <= set(names) and "door" in names and "window" in names
    assert (room.location % 0.5 == 0).all()


def test_layout_and_style_have_their_own_seeds():
    one, same, restyled, other = (build_room("bedroom", *seeds) for seeds in ((1, 1), (1, 1), (1, 2), (2, 1)))
    np.testing.assert_array_equal(one.graph, same.graph)
    assert [p.piece for p in one.placed] == [p.piece for p in same.placed]
    assert [p.piece for p in one.placed] != [p.piece for p in restyled.placed]
    assert len(one.graph) != len(other.graph) or not np.array_equal(one.graph, other.graph)


def test_unknown_rooms_and_scenes():
    with pytest.raises(ValueError, match="unknown room type 'attic'"):
        build_room("attic", 0, 0)
    with pytest.raises(ConfigError, match="attic"):
        recipes(("attic",))
    with pytest.raises(ConfigError, match="at least 1"):
        recipes(count=0)
    for name in ("kitchen", "kitchen_1", "kitchen_00", "attic_01"):
        with pytest.raises(ConfigError, match="unknown embedded scene"):
            recipe_for(name)
    assert recipe_for("kitchen_03") == recipes(("kitchen",), 5)[2]


@pytest.mark.rendering
def test_frames(tmp_path):
    from visagent.scenes.render import SceneRenderer

    room = build_room("bathroom", 1, 1)
    with SceneRenderer(room, 1) as renderer:
        frames = np.stack(list(renderer.frames(room.location[:8], room.rotation[:8])))
        again = renderer.frame(*room.location[0], int(room.rotation[0]))
        top = renderer.top_view(20)
    assert frames.shape == (8, 300, 400, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], again)
    assert all(frame.std() > 10 for frame in frames)
    assert min(np.abs(frames[0].astype(int) - other).mean() for other in frames[1:]) > 5
    assert top.shape == (round(room.depth * 20), round(room.width * 20), 3)


@pytest.mark.rendering
def test_views_turn_the_right_way():
    """A red box ahead to the right is seen on the right; after RotateRight it is on the left."""
    from visagent.scenes.furniture import Piece, box
    from visagent.scenes.layout import Placed, Room
    from visagent.scenes.render import SceneRenderer

    thing = Piece("box", 0.4, 0.4, 2.0, (box(0, 0, 0, 0.4, 0.4, 2.0, (1.0, 0.0, 0.0)),))
    room = Room("bedroom", 6.0, 6.0, [], None, [Placed(thing, 4.5, 4.3, 0)])
    with SceneRenderer(room, 0) as renderer:
        columns = []
        for rotation in (0, 90):
            frame = renderer.frame(3.0, 3.0, rotation).astype(int)
            red = (frame[..., 0] > 60) & (frame[..., 1] < 0.3 * frame[..., 0]) & (frame[..., 2] < 0.3 * frame[..., 0])
            columns.append(np.nonzero(red)[1].mean())
    assert columns[0] > 240 and columns[1] < 160


@pytest.mark.rendering
def test_a_made_scene_is_a_valid_distinct_dump(tmp_path):
    wanted = [recipe_for("bathroom_01")]
    (first,) = list(make_scenes(tmp_path, wanted, workers=1))
    assert first[2] and is_made(first[1], wanted[0])
    assert [made for _, _, made in make_scenes(tmp_path, wanted)] == [False]  # kept
    assert not is_made(first[1], recipe_for("bathroom_01", style_seed=1))
    scene = read_dump(first[1])
    assert scene.observation([0]).shape == (1, 300, 400, 3)
    assert scene.features.shape == (len(scene), 1, 2048)
    assert scene.attributes["extractor"] == "efficientnet_lite0"
    assert aliasing(scene).share <= 0.02
    report = check_scene(scene)
    assert report.unreachable_pairs == 0 and not report.isolated


def test_efficientnet_lite0_equals_the_reference_implementation():
    """Numbers of the package efficientnet_lite_pytorch on a fixed image; `tests/golden/regenerate.py` makes them
    again.
    """
    reference = json.loads(GOLDEN.read_text())
    extractor = build_extractor("efficientnet_lite0")
    image = torch.linspace(-1, 1, 3 * 160 * 160).reshape(1, 3, 160, 160)
    features = extractor.body(image)[0]
    assert features.shape == (2048,)
    torch.testing.assert_close(
        features[: len(reference["head"])], torch.tensor(reference["head"]), rtol=1e-3, atol=1e-4
    )


def test_extractors_say_what_they_need(tmp_path, monkeypatch):
    frames = torch.randint(0, 256, (2, 30, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    extractor = build_extractor("random_resnet50")
    assert extractor(frames).shape == (2, 2048)
    torch.testing.assert_close(extractor(frames), build_extractor("random_resnet50")(frames))
    with pytest.raises(ValueError, match="uint8"):
        extractor(frames.float())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ExtractorUnavailable, match=r"resnet50: no ImageNet weights.*nothing is downloaded"):
        build_extractor("resnet50")
    from torchvision.models import resnet50

    (tmp_path / "checkpoints").mkdir()
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "checkpoints" / "resnet50-mine.pth")
    assert build_extractor("resnet50")(frames).shape == (2, 2048)
    with pytest.raises(ConfigError, match="unknown extractor"):
        build_extractor("vgg")


def test_targets(tmp_path):
    scene = grid_scene(tmp_path, "bedroom_04", ("......",) * 5)
    targets = pick_targets(scene, 5)
    assert len(set(targets)) == 5 and targets == pick_targets(scene, 5)
    assert min(scene.distance[a, b] for a in targets for b in targets if a != b) >= 4
    for steps in (1, 2, 4):
        new = targets_at_distance(scene, targets, steps)
        assert new and all(min(scene.distance[s, t] for t in targets) == steps for s in new)
    with pytest.raises(ConfigError, match=r"lower datamodule\.targets_per_scene"):
        pick_targets(scene, 1000)


def test_released_targets_only_for_released_dumps(tmp_path):
    import h5py

    scene = grid_scene(tmp_path, "bathroom_02", ("......",) * 5)
    assert scene.attributes["visagent_generator"] == 0 and pick_targets(scene, 5) != list(THOR_TARGETS["bathroom_02"])
    with h5py.File(scene.path, "r+") as file:
        del file.attrs["visagent_generator"]
    assert pick_targets(read_dump(scene.path), 5) == list(THOR_TARGETS["bathroom_02"])
    assert pick_targets(read_dump(scene.path), 7)[:5] == list(THOR_TARGETS["bathroom_02"])


def test_aliasing_finds_equal_views(tmp_path):
    scene = grid_scene(tmp_path, "bathroom_01", ("...", "..."))
    scene.features[3] = scene.features[17]
    views = aliasing(scene)
    assert views.nearest[3] == 17 and views.nearest[17] == 3 and views.cosine[3] > 0.99
    assert views.share == pytest.approx(2 / len(scene))

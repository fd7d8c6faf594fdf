"""The HDF5 layout: what is written, every variant that is read, every way a file can be broken."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest

from visagent.errors import MissingFileError
from visagent.scenes.dump import KEYS, DumpError, list_dumps, read_dump, room_type, write_distances
from visagent.testing.scenes import grid_scene, write_grid_dump

PLAN = ("...", ".#.", "...")


@pytest.fixture
def dump(tmp_path):
    return write_grid_dump(tmp_path, "bathroom_02", PLAN)


def change(path, key, value):
    with h5py.File(path, "r+") as file:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value


def stored(path, key):
    with h5py.File(path) as file:
        return file[key][()]


def test_layout_is_exactly_the_released_one(dump):
    with h5py.File(dump) as file:
        assert sorted(file) == sorted(KEYS)
        count = len(file["graph"])
        expected = {
            "observation": ((count, 12, 16, 3), np.uint8),
            "resnet_feature": ((count, 1, 2048), np.float32),
            "location": ((count, 2), np.float64),
            "rotation": ((count,), np.int64),
            "graph": ((count, 4), np.int64),
            "shortest_path_distance": ((count, count), np.int64),
        }
        for key, (shape, dtype) in expected.items():
            assert file[key].shape == shape and file[key].dtype == dtype, key


def test_round_trip(dump):
    scene = read_dump(dump)
    assert scene.name == "bathroom_02" and scene.room_type == "bathroom" and len(scene) == 32
    np.testing.assert_array_equal(scene.graph, stored(dump, "graph"))
    np.testing.assert_array_equal(scene.observation([3, 1])[0], stored(dump, "observation")[3])


@pytest.mark.parametrize("shape", [(32, 2048), (32, 1, 2048), (32, 10, 2048)])
def test_feature_variants(dump, shape):
    features = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    change(dump, "resnet_feature", features)
    scene = read_dump(dump)
    assert scene.features.shape == (32, 1 if len(shape) == 2 else shape[1], 2048)
    np.testing.assert_array_equal(scene.features[:, 0], features if len(shape) == 2 else features[:, 0])


def test_other_variants_read_the_same(dump):
    plain = read_dump(dump)
    change(dump, "location", np.insert(plain.location, 1, 0.9, axis=1))
    change(dump, "rotation", np.stack([np.zeros(32), plain.rotation, np.zeros(32)], axis=1))
    change(dump, "graph", np.concatenate([plain.graph, np.full((32, 4), -1)], axis=1))
    change(dump, "bbox", np.zeros(3))
    with h5py.File(dump, "r+") as file:
        file.create_group("networkx_graph")
    scene = read_dump(dump)
    np.testing.assert_array_equal(scene.location, plain.location)
    np.testing.assert_array_equal(scene.rotation, plain.rotation)
    np.testing.assert_array_equal(scene.graph, plain.graph)
    assert scene.fingerprint() == plain.fingerprint()


def test_thousand_means_unreachable(tmp_path):
    path = write_grid_dump(tmp_path, "kitchen_01", ("..#.",))
    distance = stored(path, "shortest_path_distance")
    assert (distance == -1).any()
    change(path, "shortest_path_distance", np.where(distance == -1, 1000, distance))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_dump(path).distance, distance)


def test_wrong_distances_are_replaced_with_a_warning(dump):
    distance = stored(dump, "shortest_path_distance")
    wrong = distance.copy()
    wrong[0, 5] += 1
    change(dump, "shortest_path_distance", wrong)
    with pytest.warns(UserWarning, match="disagrees with the graph for 1 of"):
        scene = read_dump(dump)
    np.testing.assert_array_equal(scene.distance, distance)


@pytest.mark.parametrize(
    ("key", "value", "expectation"),
    [
        ("graph", None, "missing graph"),
        ("observation", None, "missing observation"),
        ("resnet_feature", None, "missing resnet_feature"),
        ("shortest_path_distance", None, "missing shortest_path_distance"),
        ("graph", np.zeros((32, 3), int), r"expected shape \(N, 4\)"),
        ("graph", np.full((32, 4), 32), r"expected next states in -1\.\.31, got 32 for state 0, action MoveForward"),
        ("graph", np.full((32, 4), -2), "got -2"),
        ("graph", np.zeros((0, 4), int), "N > 0"),
        ("location", np.zeros((31, 2)), r"expected shape \(32, 2\)"),
        ("location", np.full((32, 2), np.nan), "NaN"),
        ("rotation", np.full(32, 45), "multiples of 90"),
        ("rotation", np.zeros((32, 2)), r"expected shape \(32,\)"),
        (
            "resnet_feature",
            np.zeros((32, 512), np.float32),
            r"expected shape \(32, 2048\) or \(32, K, 2048\), got \(32, 1, 512\)",
        ),
        ("observation", np.zeros((32, 12, 16), np.uint8), "expected uint8"),
        ("observation", np.zeros((32, 12, 16, 3), np.float32), "expected uint8"),
        ("shortest_path_distance", np.ones((32, 32), int), "matrix of ones"),
        ("shortest_path_distance", np.ones((32, 31), int), r"expected shape \(32, 32\)"),
    ],
)  # fmt: skip
def test_broken_files_name_file_key_and_expectation(dump, key, value, expectation):
    change(dump, key, value)
    with pytest.raises(DumpError, match=expectation) as error:
        read_dump(dump)
    assert str(dump) in str(error.value) and key in str(error.value)


def test_distances_of_ones_can_be_recomputed(dump):
    distance = stored(dump, "shortest_path_distance")
    for broken in (np.ones((32, 32), int), None):
        change(dump, "shortest_path_distance", broken)
        np.testing.assert_array_equal(read_dump(dump, recompute_distances=True).distance, distance)
    write_distances(dump)
    np.testing.assert_array_equal(stored(dump, "shortest_path_distance"), distance)
    assert read_dump(dump).name == "bathroom_02"


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_truncated_files(dump, keep):
    content = dump.read_bytes()
    dump.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(DumpError, match="complete HDF5 file"):
        read_dump(dump)


def test_a_group_where_an_array_should_be_is_named(tmp_path):
    path = write_grid_dump(tmp_path, "kitchen_01", ("..",))
    with h5py.File(path, "r+") as file:
        del file["graph"]
        file.create_group("graph")["x"] = 1
    with pytest.raises(DumpError, match="graph: expected an array, got a group of x"):
        read_dump(path)


def test_missing_files(tmp_path):
    with pytest.raises(MissingFileError, match="no such file; make one with"):
        read_dump(tmp_path / "x.h5")
    with pytest.raises(MissingFileError, match="found zero"):
        list_dumps(tmp_path)
    with pytest.raises(MissingFileError, match=r"set datamodule\.scenes=DIR"):
        list_dumps(tmp_path / "nowhere")


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        from visagent.scenes.dump import write_dump

        scene = grid_scene(tmp_path / "ok", "kitchen_01", PLAN)
        write_dump(
            tmp_path / "bad.h5",
            observation=scene.observation(range(len(scene))),
            features=scene.features,
            location=scene.location,
            rotation=scene.rotation,
            graph=scene.graph,
            distance=scene.distance,
            attributes={"x": object()},  # type: ignore[dict-item]
        )
    assert not list(tmp_path.glob("*.h5")) and not list(tmp_path.glob(".*"))


def test_room_types():
    expected = {
        "living_room_08": "living_room",
        "FloorPlan1": "kitchen",
        "FloorPlan212": "living_room",
        "FloorPlan330": "bedroom",
        "FloorPlan402_physics": "bathroom",
        "attic": "other",
        "FloorPlan99": "other",
    }
    assert {name: room_type(name) for name in expected} == expected

"""Draws from a replay against streams that are known row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import UserError
from visagent.experience.replay import ReplayMissing, ReplayStore, write_down
from visagent.experience.transitions import row_columns

SPACES = WorldSpaces({"state": (1,), "pixels": (3, 2, 2)}, ActionSpace("continuous", 1), frames=1)
STACKED = WorldSpaces({"state": (3,), "pixels": (9, 2, 2)}, ActionSpace("continuous", 1), frames=3)


def stream(seed, lengths, spaces):
    """Rows of episodes of these lengths, the last unfinished; a negative length is an episode that broke off.

    Every row's state is its number.
    """
    rng, rows, serial = np.random.default_rng(seed), [], 0
    for place, length in enumerate(lengths):
        for step in range(abs(length)):
            over = length > 0 and step == length - 1 and place < len(lengths) - 1
            cut = over and bool(rng.integers(2))
            rows.append(
                {
                    "step": step,
                    "terminated": over and not cut,
                    "truncated": cut,
                    "final": False,
                    "reward": rng.normal(),
                    "action": rng.normal(),
                }
            )
        if over:
            rows.append(
                {"step": length, "terminated": False, "truncated": False, "final": True, "reward": 0.0, "action": 0.0}
            )
        for row in rows[-abs(length) - over :]:
            serial += 1
            row["serial"] = serial
        serial += length < 0
    for number, row in enumerate(rows):
        row["observation.state"], row["observation.pixels"] = number, number % 256
    columns = row_columns(spaces)
    found = {name: np.zeros((len(rows), *shape), dtype) for name, (shape, dtype) in columns.items()}
    for number, row in enumerate(rows):
        for name, value in row.items():
            found[name][number] = value
    return rows, found


def expected(rows, number, n_step, frames, low):
    """k, summed rewards by step, the numbers of the frames here and there; found by walking."""
    k, rewards = 0, []
    while (
        k < n_step
        and number + k + 1 < len(rows)
        and not rows[number + k]["final"]
        and rows[number + k + 1]["step"] == rows[number + k]["step"] + 1
    ):
        rewards.append(rows[number + k]["reward"])
        k += 1

    def stack(at):
        return [max(at - back, at - rows[at]["step"]) for back in range(frames - 1, -1, -1)]

    return k, rewards, stack(number), stack(number + k)


@pytest.mark.parametrize(
    ("spaces", "n_step", "capacity"), [(SPACES, 1, 500), (SPACES, 3, 500), (STACKED, 3, 500), (STACKED, 5, 40)]
)
def test_draws_are_what_walking_the_streams_finds(spaces, n_step, capacity, tmp_path):
    made = [stream(0, [7, 1, -4, 2, 12, 30], spaces), stream(1, [3, 3, -1, 9, 25, -3, 20], spaces)]
    store = ReplayStore(tmp_path, row_columns(spaces), 2, capacity, 10, fresh=True)
    written = np.zeros(2, np.int64)
    for part in range(7):  # written piece by piece, with borders anywhere
        for index, (rows, columns) in enumerate(made):
            start, end = written[index], len(rows) * (part + 1) // 7
            store.write(
                index, int(start), {name: column[start:end] for name, column in columns.items()}, int(end - start)
            )
            written[index] = end
    drawn = store.draw(written, 4000, n_step, spaces.frames, np.random.default_rng(0))
    width = spaces.frames
    seen = [set(), set()]
    for row in range(4000):
        number, pixels = int(drawn["observation.state"][row, -1]), drawn["observation.pixels"][row]
        index = next(
            i
            for i in (0, 1)
            if number < len(made[i][0]) and np.isclose(made[i][0][number]["action"], drawn["action"][row, 0], atol=1e-6)
        )
        rows = made[index][0]
        k, rewards, here, there = expected(rows, number, n_step, width, 0)
        assert k >= 1 and not rows[number]["final"] and number >= len(rows) - capacity
        assert drawn["steps"][row] == k and drawn["terminated"][row] == rows[number + k - 1]["terminated"]
        np.testing.assert_allclose(drawn["rewards"][row], rewards + [0.0] * (n_step - k), rtol=1e-6)
        assert (
            drawn["observation.state"][row].tolist() == here and drawn["next_observation.state"][row].tolist() == there
        )
        assert pixels.shape == (3 * width, 2, 2) and pixels[::3, 0, 0].tolist() == here
        seen[index].add(number)
    for index, (rows, _) in enumerate(made):  # every row with a successor is drawn
        low = max(0, len(rows) - capacity)
        assert seen[index] == {
            number for number in range(low, len(rows)) if expected(rows, number, n_step, width, 0)[0] > 0
        }


def test_files_outlive_the_store_and_writing_again_changes_nothing(tmp_path):
    rows, columns = stream(0, [5, 9], SPACES)
    written = np.array([len(rows)])
    store = ReplayStore(tmp_path, row_columns(SPACES), 1, 50, 5, fresh=True)
    with pytest.raises(UserError, match="expected rows to draw from, got none"):
        store.draw(np.array([0]), 4, 1, 1, np.random.default_rng(0))
    store.write(0, 0, columns, len(rows))
    before = store.draw(written, 50, 2, 1, np.random.default_rng(1))
    again = ReplayStore(tmp_path, row_columns(SPACES), 1, 50, 5, fresh=False)
    again.write(0, 0, columns, len(rows))
    after = again.draw(written, 50, 2, 1, np.random.default_rng(1))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    with pytest.raises(
        ReplayMissing, match=r"expected float32 \[1, 65, 1\], got float32 \[1, 55, 1\]; delete the run's folder"
    ):
        ReplayStore(tmp_path, row_columns(SPACES), 1, 60, 5, fresh=False)
    with pytest.raises(ReplayMissing, match="expected the rows of the run that is resumed"):
        ReplayStore(tmp_path / "other", row_columns(SPACES), 1, 50, 5, fresh=False)


def test_no_draw_reaches_over_rows_that_were_dropped(tmp_path):
    """Of one episode, rows 5 to 9 were dropped and made again as 15 to 19, which lie before 10 to 14; their steps go on
    by chance.
    """
    serial = np.array([1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 11, 12, 13, 14, 15])
    columns = {name: np.zeros((15, *shape), dtype) for name, (shape, dtype) in row_columns(STACKED).items()}
    columns["serial"], columns["step"] = serial, np.arange(15, dtype=np.int32)
    columns["observation.state"][:, 0] = serial
    store = ReplayStore(tmp_path, row_columns(STACKED), 1, 50, 5, fresh=True)
    store.write(0, 0, columns, 15)
    drawn = store.draw(np.array([15]), 500, 3, 3, np.random.default_rng(0))
    seen = {tuple(here) for here in drawn["observation.state"].tolist()}
    assert seen == {(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 3, 4), (16, 17, 18), (17, 18, 19), (11, 12, 13), (12, 13, 14)}
    for here, there, steps in zip(
        drawn["observation.state"], drawn["next_observation.state"], drawn["steps"], strict=True
    ):
        assert there[-1] == here[-1] + steps and (np.diff(there) <= 1).all()


def test_rows_that_are_not_there_are_named_and_not_waited_for(tmp_path):
    rows, columns = stream(0, [5, 9], SPACES)
    store = ReplayStore(tmp_path, row_columns(SPACES), 1, 50, 5, fresh=True)
    with pytest.raises(
        ReplayMissing,
        match=r"expected rows that follow each other among 12, got none; delete the run's folder to begin anew",
    ):
        store.draw(np.array([12]), 4, 2, 1, np.random.default_rng(0))
    store.write(0, 0, columns, len(rows))
    store.require(np.array([len(rows)]))
    with pytest.raises(
        ReplayMissing,
        match=rf"got 3 of {len(rows) + 3} never written, the first of them row {len(rows)} in stream 0; delete the "
        r"run's folder",
    ):
        store.require(np.array([len(rows) + 3]))


def test_rows_are_on_the_disk_before_they_are_counted(tmp_path, monkeypatch):
    store = ReplayStore(tmp_path / "shard_0", row_columns(SPACES), 1, 50, 5, fresh=True)
    written = []
    monkeypatch.setattr("os.fsync", lambda number: written.append(Path(f"/proc/self/fd/{number}").readlink().name))
    write_down(tmp_path)
    assert sorted(written) == sorted(f"{name}.npy" for name in store.rows)

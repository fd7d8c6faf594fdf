"""The numbers that matter first: a run's key metric, a closing table that fits one screen."""

from __future__ import annotations

import pytest

from visagent.runtime.headline import FITS, headline, short_table
from visagent.runtime.record import Record
from visagent.runtime.report import metric_table, print_table
from visagent.runtime.run_folder import RunFolder

ROOMS = ("bathroom", "bedroom", "kitchen", "living_room", "all")
NAVIGATION = {
    f"test/{group}{mode}/{room}/{measure}": 0.5 + len(group) / 100
    for group in ("", *(f"new_targets_{distance}/" for distance in (1, 2, 4, 8)))
    for mode in ("sampled", "argmax")
    for room in ROOMS
    for measure in ("success_rate", "average_shortest_length", "spl", "collisions")
} | {"test/success_rate": 0.991}


def record(metrics=None, history=None):
    return Record("r1", "navigation/dagger", "c", 0, "laptop", metrics=metrics or {}, history=history or {})


@pytest.mark.parametrize(
    ("metrics", "history", "expected"),
    [
        ({"test/return": 500.0, "test/return_std": 0.0, "test/solved_rate": 1.0}, {}, ("test/return", 500.0)),
        ({"test/return": 1.0, "test/success_rate": 0.4}, {}, ("test/success_rate", 0.4)),
        ({"test/1_clip/top1": 0.1, "test/2_clip/top1": 0.2, "test/2_clip/top5": 0.9}, {}, ("test/2_clip/top1", 0.2)),
        ({"test/a/all/success_rate": 0.3, "test/a/x/success_rate": 0.1}, {}, ("test/a/all/success_rate", 0.3)),
        ({}, {"0": {"val/return": 1.0}, "1": {"val/return": 2.0}, "2": {"train/loss": 0.1}}, ("val/return", 2.0)),
        ({"test/return": float("nan")}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_key_metric(metrics, history, expected):
    assert headline(record(metrics, history)) == expected


def test_a_long_table_fits_one_screen():
    """Per room and action mode; of each group of new targets the row over all rooms."""
    columns, rows, left_out = short_table(*metric_table(NAVIGATION))
    assert list(rows) == [*ROOMS, "new_targets_1", "new_targets_2", "new_targets_4", "new_targets_8"]
    assert columns == ["sampled success_rate", "sampled spl", "argmax success_rate", "argmax spl"]
    assert rows["kitchen"]["argmax spl"] == 0.5 and rows["new_targets_4"]["sampled success_rate"] == 0.5 + 14 / 100
    assert left_out == 50 * 4 - 9 * 4


def test_a_table_that_fits_is_left_as_it_is():
    metrics = {f"test/look_{number}/return": float(number) for number in range(FITS)}
    columns, rows, left_out = short_table(*metric_table(metrics))
    assert (columns, left_out, rows["look_3"]) == (["return"], 0, {"return": 3.0})
    columns, rows, left_out = short_table(*metric_table(metrics | {"test/more/return": 1.0, "test/most/return": 1.0}))
    assert len(rows) == FITS and left_out == 2


def test_what_shares_no_column_is_a_line_below(tmp_path, capsys):
    metrics = {f"test/{clips}_clip/{top}": 0.25 for clips in (1, 2) for top in ("top1", "top5")}
    metrics |= {"test/broken": 0.0, "test/network/parameters": 183720.0, "test/network/gmacs": 0.004}
    print_table(record(metrics), RunFolder(tmp_path))
    shown = capsys.readouterr().out
    assert "broken 0.000\nnetwork: parameters 183,720  gmacs 0.004\n" in shown
    assert "parameters" not in shown.split("broken")[0] and "2_clip" in shown
    print_table(record({"test/return": 1.0, "test/success_rate": 0.5}), RunFolder(tmp_path))
    assert "whole run" in capsys.readouterr().out


def test_what_is_left_out_is_said(tmp_path, capsys):
    print_table(record(NAVIGATION), RunFolder(tmp_path))
    short = capsys.readouterr().out.splitlines()
    assert len(short) <= 24 and "164 more numbers: progress.summary=full, or the record" in short
    print_table(record(NAVIGATION), RunFolder(tmp_path), full=True)
    full = capsys.readouterr().out
    assert "new_targets_8/argmax/kitchen" in full and "0.991" in full and "more numbers" not in full

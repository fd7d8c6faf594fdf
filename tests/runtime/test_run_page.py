"""What a run shows of itself: its page, its use of the machine, TensorBoard, the terminal."""

from __future__ import annotations

import html.parser
import io
import math
import re
import time
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from comparing import folder_of
from visagent.charts import line_chart, shown, sparkline
from visagent.runtime.citations import SOURCES, sources_of
from visagent.runtime.run_page import MOST_INSIDE, page, write_page
from visagent.runtime.system_use import COLUMNS, SystemUse, read_use
from visagent.runtime.train import train
from visagent.runtime.watch import Watch


class Links(html.parser.HTMLParser):
    """The links of a page, and whether all that it opens it closes."""

    def __init__(self) -> None:
        super().__init__()
        self.links, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []


def read(text):
    found = Links()
    found.feed(text)
    return found


def test_a_finished_run_has_a_page_that_stands_alone(trained):
    record, outputs = trained("ppo/cartpole", "actors=serial", "algorithm.clip=0.17", "datamodule.film_episodes=1")
    folder = folder_of(record, outputs)
    text = (folder.path / "report.html").read_text()
    found = read(text)
    assert all(source.startswith("data:") for source in found.sources) and len(found.sources) == 2  # curves and a film
    assert any(source.startswith("data:video/mp4") for source in found.sources)
    assert all((folder.path / link).is_file() for link in found.links) and "episodes.csv" in found.links
    assert re.search(r"algorithm\.clip<td[^<]*<span>0\.2</span><td[^<]*<span>0\.17</span>", text)
    assert text.count("<svg") >= 12 and "clip fraction" in text  # curves
    for said in ("Schulman et al.", f"visagent-export run={record.signature}", "Where time went", "attempt"):
        assert said in text
    assert f"extend={record.signature} trainer.max_epochs=4" in text


def test_the_page_of_a_run_that_failed_says_why(trained, tmp_path):
    record, outputs = trained("ppo/cartpole", "actors=serial", "algorithm.clip=0.17", "datamodule.film_episodes=1")
    folder = folder_of(record, outputs)
    failed = folder.load()
    failed.status, failed.error = "FAILED", "first\nno space <left>"
    text = page(folder, failed, folder.config())
    assert "FAILED: no space &lt;left&gt;" in text and "more epochs" not in text


def test_large_films_are_linked(trained, tmp_path, monkeypatch):
    record, outputs = trained("ppo/cartpole", "actors=serial", "algorithm.clip=0.17", "datamodule.film_episodes=1")
    folder = folder_of(record, outputs)
    monkeypatch.setattr("visagent.runtime.run_page.MOST_INSIDE", 10)
    found = read(page(folder, record, folder.config()))
    assert not found.sources and "videos/test_episode_0.mp4" in found.links and MOST_INSIDE > 10


def test_a_page_that_cannot_be_written_costs_nothing(trained, tmp_path, caplog):
    record, outputs = trained("ppo/cartpole", "actors=serial", "algorithm.clip=0.17", "datamodule.film_episodes=1")
    folder = folder_of(record, outputs)
    elsewhere = SimpleNamespace(
        page=tmp_path / "nowhere" / "report.html",
        **{name: getattr(folder, name) for name in ("figures", "system", "episodes", "checkpoint")},
    )
    elsewhere.path = tmp_path / "nowhere"
    assert write_page(elsewhere, record, folder.config()) is None
    assert "the page of this run could not be written" in caplog.text


def test_every_method_is_cited_by_a_module_there_is():
    from importlib import import_module

    for name in SOURCES:
        module, _, kind = name.rpartition(".")
        assert hasattr(import_module(f"lightning_modules.{module}"), kind)
    assert sources_of("lightning_modules.ppo.PPO") and sources_of("my.Method") == ()


def test_the_machines_use_is_sampled(tmp_path):
    path = tmp_path / "system.csv"
    for _ in range(2):  # two attempts
        with SystemUse(path, seconds=0.05):
            until = time.process_time() + 0.3
            while time.process_time() < until:
                math.sqrt(2.0)
    use = read_use(path)
    assert len(use["time"]) >= 4 and use["time"][0] == 0.0 and set(use) == set(COLUMNS[:4])
    assert max(use["cores"]) > 0.2 and min(use["memory_gib"]) > 0.05
    assert read_use(tmp_path / "none.csv") == {}


def test_charts_have_gaps_where_nothing_is_defined():
    chart = line_chart("a <b>", [1, 2, 3, 4], [1.0, math.nan, 2.0, 3.0])
    assert chart.count("<polyline") == 1 and chart.count("<circle") == 1 and "a &lt;b&gt;" in chart
    assert "<polyline" in line_chart("flat", [1, 2], [0.5, 0.5]) and "nan" not in line_chart("no", [1], [math.nan])
    assert [shown(value) for value in (0.0, 1e-5, 123456.0, 0.12345, math.nan)] == [
        "0",
        "1e-05",
        "1.2e+05",
        "0.1235",
        "-",
    ]


def test_sparklines_join_what_does_not_fit():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█" and sparkline([], 5) == "" and sparkline([2.0, 2.0], 5) == "▄▄"
    assert sparkline([0.0, math.nan, 1.0], 5) == "▁ █"


@pytest.mark.usefixtures("undrawn")
def test_tensorboard_gets_every_metric_once(compose, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = compose("ppo/cartpole", "logger=tensorboard", "trainer.max_epochs=3")
    from lightning_modules.ppo import PPO

    original = PPO.training_step

    def failing(self, batch, batch_index):
        if self.current_epoch == 2 and batch_index == 1:
            raise RuntimeError("power cut")
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "training_step", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config)
    record = train(config)
    events = accumulator.EventAccumulator(str(folder_of(record, tmp_path).path / "tensorboard"))
    events.Reload()
    values = [(point.step, point.value) for point in events.Scalars("val/return")]
    expected = [(int(epoch["step"]), epoch["val/return"]) for epoch in record.history.values()]
    assert values == pytest.approx(expected) and "test/return" in events.Tags()["scalars"]


def test_the_terminal_shows_curves_while_a_run_learns():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=110, height=30)
    record = SimpleNamespace(name="n", signature="r1", history={"0": {"val/return": 1.0, "time/x": 3.0}})
    watch = Watch(record, console)
    trainer = SimpleNamespace(
        current_epoch=1, max_epochs=4, is_global_zero=True, num_training_batches=5,
        logged_metrics={"train/loss": torch.tensor(0.25), "val/return": torch.tensor(1.0)},
        callback_metrics={"val/return": torch.tensor(4.0)},
    )  # fmt: skip
    watch.on_train_start(trainer, None)
    watch.on_train_batch_end(trainer, None, None, None, 0)
    watch.on_train_epoch_end(trainer, None)
    watch.on_train_end(trainer, None)
    seen = out.getvalue()
    assert dict(watch.values) == {"val/return": [1.0, 4.0], "train/loss": [0.25]} and watch.live is None
    assert "epoch 2 of 4" in seen and "▁█" in seen and "time/x" not in seen and "1 to 4" in seen

"""A run's log file holds what the console said, attempt after attempt, rank by rank."""

from __future__ import annotations

import errno
import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress as Bar

from visagent.runtime.progress import Progress, epoch_line
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.run_log import RunLog, logged
from visagent.runtime.train import train

PRESET = "navigation/behaviour_cloning"


def test_what_is_printed_and_logged_is_in_both_places(tmp_path, capsys):
    log = logging.getLogger("some.module")
    with logged(tmp_path / "log.txt", "first"):
        print("printed")
        print("an error", file=sys.stderr)
        log.warning("logged %d", 1)
        Console().print("[bold red]coloured[/]")
    print("afterwards")
    with logged(tmp_path / "log.txt", "second"):
        print("again")
    text = (tmp_path / "log.txt").read_text()
    for said in ("== first", "printed", "an error", "logged 1", "coloured", "== second", "again"):
        assert text.count(said) == 1, said
    assert "afterwards" not in text and text.index("coloured") < text.index("== second")
    shown = capsys.readouterr()
    assert "printed\n" in shown.out and "afterwards" in shown.out and "an error" in shown.err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_that_draws_itself_again_leaves_only_what_was_said_above_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with logged(tmp_path / "log.txt", "run"):
        with Bar(console=Console(width=80)) as progress:
            task = progress.add_task("epoch", total=50)
            for step in range(50):
                progress.advance(task)
                progress.refresh()
                if step == 25:
                    print("in the middle")
        print("\x1b[31mred\x1b[0m")
    text = (tmp_path / "log.txt").read_text()
    assert "\x1b" not in text and text.count("in the middle") == 1 and "red\n" in text
    assert len(text.splitlines()) < 12


def test_who_keeps_the_console_until_the_end_is_told_when_it_is_closed(tmp_path, monkeypatch):
    """As colorama does, which resets it when the process ends."""
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    with logged(tmp_path / "log.txt", "run"):
        stream = sys.stdout
    assert not stream.closed
    console.close()
    assert stream.closed


def test_a_log_that_cannot_be_written_is_said_once(tmp_path, monkeypatch):
    heard = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", heard)
    log = RunLog(tmp_path / "log.txt")

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    log._file.close()
    log._file = Full()
    log.write("a")
    log.write("b")
    assert heard.getvalue().count("cannot be written (No space left on device)") == 1
    (tmp_path / "file").write_text("")
    RunLog(tmp_path / "file" / "log.txt").write("c")
    assert heard.getvalue().count("cannot be written") == 2


def test_a_run_keeps_its_log_through_its_attempts(compose, monkeypatch, caplog):
    from lightning_modules.behaviour_cloning import BehaviourCloning

    caplog.set_level("INFO")
    monkeypatch.setenv("COLUMNS", "140")
    config = compose(PRESET, "trainer.max_epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(BehaviourCloning, "imitate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config)
    record = train(compose(PRESET, "trainer.max_epochs=1"))
    text = RunFolder(f"{config.paths.outputs}/runs/{record.signature}").log().read_text()
    assert "attempt 1 of the run" in text and "ZeroDivisionError" in text and "attempt 2 of the run" in text
    assert "resuming the run in" in text and "success rate" in text  # the table at the end


@pytest.mark.parametrize("progress", ["none", "rich"])
def test_a_log_and_a_file_get_a_line_for_each_epoch_in_place_of_a_bar(compose, capsys, progress):
    config = compose(PRESET, "trainer.max_epochs=2", f"progress={progress}")
    record = train(config)
    line = re.compile(r"^epoch (\d) of 2: val .* \S+; \d+:\d\d elapsed(, about \d+:\d\d left)?$", re.MULTILINE)
    text = RunFolder(f"{config.paths.outputs}/runs/{record.signature}").log().read_text()
    assert line.findall(text)[0][0] == "1" and [rest[:7] for _, rest in line.findall(text)] == [", about", ""]
    shown = capsys.readouterr().out
    assert len(line.findall(shown)) == (2 if progress == "rich" else 0) and "━━" not in shown.partition("┏")[0]


def test_epochs_of_a_resumed_run_are_counted_from_its_first_and_timed_from_its_last_start():
    trainer = SimpleNamespace(current_epoch=2, max_epochs=5)
    numbers = {"train/loss_step": 0.3, "train/loss_epoch": 0.25, "val/validation/top1": 0.5, "loss": 2.0}
    numbers |= {"data/samples": 10.0, "more": 1.0}
    told = "val validation top1 0.5, train loss 0.25, loss 2, data samples 10; 0:10 elapsed, about 0:20 left"
    assert epoch_line(trainer, numbers, 10.0, 2) == f"epoch 3 of 5: {told}"
    assert epoch_line(SimpleNamespace(current_epoch=0, max_epochs=None), {}, 3700.0) == "epoch 1: 1:01:40 elapsed"


def test_the_bar_counts_epochs_from_one():
    bar = Progress()
    bar._trainer = SimpleNamespace(max_epochs=4)
    assert bar._get_train_description(3) == "Epoch 4/4 "

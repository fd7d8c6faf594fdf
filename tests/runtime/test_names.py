"""Names with signs of their own: text is text in figures and on the console, recorded commands can be pasted, and a
commit is ours or none.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import types

import pytest
from matplotlib.figure import Figure

from visagent.pictures import plain
from visagent.runtime import provenance
from visagent.runtime.drawing import draw
from visagent.runtime.provenance import command, commit
from visagent.runtime.record import Record
from visagent.runtime.report import learning_curves, print_table
from visagent.runtime.run_folder import RunFolder, find_run

ODD = "pay_$5_^_$6 [bold] [/x] 100% {a} :smile:"


def odd_record() -> Record:
    history = {"0": {"train/loss_epoch": 1.0, "val/all/success_rate": 0.5}}
    return Record(
        "r0", ODD, "visagent-train", 0, "smoke", "FINISHED", history=history, metrics={f"test/{ODD}/success_rate": 0.5}
    )


def test_names_are_no_formulas_in_figures(tmp_path):
    figure = learning_curves(odd_record())
    axes = figure.axes[0]
    axes.set_xticks([0, 1], [ODD, "b"])
    axes.set_yscale("log")
    axes.plot([0, 1], [1, 1000], label=ODD)
    axes.legend()
    axes.set_ylabel(ODD)
    plain(figure).savefig(tmp_path / "figure.png")
    assert not axes.yaxis.label.get_parse_math() and not axes.get_xticklabels()[0].get_parse_math()
    # powers of ten are matplotlib's own
    assert any(label.get_parse_math() and "mathdefault" in label.get_text() for label in axes.get_yticklabels())


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(tmp_path, caplog):
    def broken():
        raise ValueError("no picture")

    failing = Figure()
    failing.add_subplot().text(0, 0, "x", fontproperties={"fname": "/no/such/font.ttf"})
    folder = RunFolder(tmp_path)
    draw(types.SimpleNamespace(figures=lambda: {"failing": failing}, videos=broken), folder, odd_record(), None)
    assert [path.name for path in folder.figures.iterdir()] == ["learning_curves.png"]
    assert "failing" in caplog.text and "no picture" in caplog.text


def test_names_are_no_markup_on_the_console(tmp_path, capsys):
    record = odd_record()
    record.metrics = {"test/[bold] :smile:/[red]rate": 0.25}
    print_table(record, RunFolder(tmp_path / "[red]x[/red]"))
    said = capsys.readouterr().out
    assert f"{ODD} seed 0" in " ".join(said.split()) and "│ [bold] :smile: │" in said
    assert "[red]rate" in said and "[red]x[/red]" in said.replace("\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=ppo/cartpole", "seed=1"],
        ["name='cost_$5 (a), b=c'", "datamodule.scene_names=['001', a]", "+datamodule.targets={'kitchen (1)': [3, 9]}"],
        ['paths.videos="/data/my videos (1) 100% é#"', "~debug", r"name=\${x}", "it's=1"],
    ],
)
def test_the_recorded_command_can_be_pasted(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/visagent-train", *arguments])
    assert shlex.split(command()) == ["visagent-train", *arguments]
    pasted = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command()}"], capture_output=True, text=True, check=True
    ).stdout
    assert pasted.splitlines() == ["visagent-train", *arguments]


@pytest.mark.parametrize(
    ("place", "ours"), [("src/visagent/runtime", True), (".venv/lib/site-packages/visagent/runtime", False)]
)
def test_the_commit_is_ours_or_none(place, ours, tmp_path, monkeypatch):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "provenance.py").touch()
    (tmp_path / "their.txt").touch()
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    assert bool(commit()) is ours


def test_runs_are_found_by_name_and_not_by_pattern(tmp_path):
    for name in ("r1", "r12", "r3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
    assert find_run(tmp_path, "r1").path == tmp_path / "r1"  # whole, though another begins with it
    assert find_run(tmp_path, "r3").path == find_run(tmp_path, str(tmp_path / "r3")).path == tmp_path / "r3"
    for wanted in ("**", "*", "r[3]", "?3", "", "r"):
        with pytest.raises(ValueError, match="expected run=SIGNATURE"):
            find_run(tmp_path, wanted)

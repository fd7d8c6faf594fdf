"""The commands that make what a run folder's config names, with folders that come from someone else."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module

from visagent import cli
from visagent.config.schemas import TrainConfig, register
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime import demonstrations
from visagent.runtime.evaluate import evaluate
from visagent.runtime.export import export
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train

PRESET = "navigation/behaviour_cloning"


def settings(root, *overrides):
    register()
    with initialize_config_module("visagent.conf", version_base="1.3"):
        return hydra_compose(root, list(overrides))


class Payload:
    """What its unpickling runs leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def strangers(tmp_path, compose):
    """A run folder whose config loads a pickle; the folder, and the file that its payload would make."""
    made = tmp_path / "made"
    torch.save(Payload(made), tmp_path / "payload.pt")

    def folder(group, node):
        config = validate(compose(PRESET), TrainConfig)
        config[group] = node
        run = RunFolder(tmp_path / "strangers")
        (run.path / "checkpoints").mkdir(parents=True)
        (run.path / "config.yaml").write_text(yaml.safe_dump(config))
        run.checkpoint.write_bytes(b"")
        run.save(Record("r000000000", PRESET, "visagent-train", 0, "smoke", "FINISHED"))
        return run.path

    return folder, {"_target_": "torch.load", "f": str(tmp_path / "payload.pt"), "weights_only": False}, made


@pytest.mark.parametrize(
    ("command", "group"),
    [
        ("evaluate", "algorithm"),
        ("evaluate", "trainer"),
        ("evaluate", "progress"),
        ("export", "network"),
        ("demos", "datamodule"),
    ],
)
def test_a_strangers_folder_runs_nothing(command, group, strangers):
    folder, load, made = strangers
    path = folder(group, load)
    commands = {
        "evaluate": lambda: evaluate(settings("evaluate", f"run={path}")),
        "export": lambda: export(settings("export", f"run={path}")),
        "demos": lambda: demonstrations.main(["record", str(path)]),
    }
    expected = (
        rf"the run in .*strangers: {group}\._target_: expected a target of visagent's own in a stored config, got "
        r"'torch\.load'"
    )
    with pytest.raises(ConfigError, match=expected):
        commands[command]()
    assert not made.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "got None for algorithm"),
        ("algorithm: 5", "got 5 for algorithm"),
        ("&a\nalgorithm: *a", "contains itself"),
        ("- 1", "expected a run's config"),
        ("a: [", "does not read"),
    ],
)
def test_a_config_that_is_none_is_named(text, said, strangers):
    path = strangers[0]("algorithm", {})
    (path / "config.yaml").write_text(text)
    for command in (evaluate, export):
        with pytest.raises(ConfigError, match=said):
            command(settings(command.__name__, f"run={path}"))


def test_interpolations_of_a_stored_config_are_text(strangers, monkeypatch):
    """A resolver could make a dict with a target where the config that was looked at has text."""
    folder, load, made = strangers
    text = "${oc.create:{_target_: torch.load, f: '" + load["f"] + "', weights_only: false}}"
    path = folder("optimizer", {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "extra": text})
    with pytest.raises(ConfigError, match=r"unknown config key 'optimizer\.extra'"):
        evaluate(settings("evaluate", f"run={path}"))
    path = path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["optimizer"] = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": text}
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"optimizer\.lr: expected a number, .*got \"\$\{oc\.create:"):
        evaluate(settings("evaluate", f"run={path.parent}"))
    stored["optimizer"]["lr"] = 0.1
    stored["name"] = "${hydra:runtime.cwd}"
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"checkpoint"):  # as far as an empty checkpoint lets it come
        evaluate(settings("evaluate", f"run={path.parent}"))
    assert not made.exists()


def test_a_run_with_a_name_like_an_interpolation_is_evaluated_and_a_pickle_in_its_checkpoint_does_not_run(
    compose, tmp_path
):
    config = compose(PRESET, "trainer.max_epochs=1", r"name='a_\${b}_$c_[d]'", "datamodule.action_modes=[argmax]")
    record = train(config)
    assert record.name == "a_${b}_$c_[d]"
    run = f"run={config.paths.outputs}/runs/{record.signature}"
    assert evaluate(settings("evaluate", run)) == pytest.approx(record.metrics, nan_ok=True)
    folder = RunFolder(f"{config.paths.outputs}/runs/{record.signature}")
    whole = (folder.path / "config.yaml").read_text()
    stored = yaml.safe_load(whole)
    del stored["algorithm"]["labels"]  # as if a version from before that setting had written it
    (folder.path / "config.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"type \+algorithm\.labels=VALUE"):
        evaluate(settings("evaluate", run))
    assert evaluate(settings("evaluate", run, "+algorithm.labels=expert")) == pytest.approx(record.metrics, nan_ok=True)
    with pytest.raises(ConfigError, match=r"algorithm\.seed: the trained algorithm is evaluated as it is"):
        evaluate(settings("evaluate", run, "+algorithm.labels=expert", "+algorithm.seed=1"))
    (folder.path / "config.yaml").write_text(whole)
    content = torch.load(folder.checkpoint, weights_only=True)
    for key in ("state_dict", "NavigationDataModule", "callbacks"):
        torch.save({**content, key: Payload(tmp_path / "made")}, folder.checkpoint)
        with pytest.raises(ConfigError, match=r"last\.ckpt"):
            evaluate(settings("evaluate", run))
    with pytest.raises((ConfigError, pickle.UnpicklingError)):
        train(compose(PRESET, "trainer.max_epochs=2", f"paths.run={folder.path}", r"name='a_\${b}_$c_[d]'"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("command", [cli.evaluate, cli.export])
def test_the_flag_is_an_override_to_hydra(command, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_hydra", lambda *_: None)
    monkeypatch.setattr(
        sys, "argv", ["visagent", "--allow-targets", "my_worlds", "run=r1", "--allow-targets=mine.networks"]
    )
    command()
    assert sys.argv[1:] == ["run=r1", "allow_targets=[my_worlds,mine.networks]"]
    for wrong in (["--allow-targets"], ["--allow-targets", "a b"], ["--allow-targets="]):
        monkeypatch.setattr(sys, "argv", ["visagent", *wrong])
        with pytest.raises(SystemExit):
            command()
        assert "--allow-targets: expected the dotted name" in capsys.readouterr().err

"""Exported policies act in other programs as they did here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from comparing import folder_of
from slow import first
from visagent.config.composition import compose_root, config_folder
from visagent.errors import ConfigError
from visagent.networks.deploy_policies import Navigating
from visagent.runtime.evaluate import trained as trained_module
from visagent.runtime.export import export

ROOT = Path(__file__).parents[2]
LSTM = "network.lstm=6"
FAMILIES = [
    ("ppo/cartpole", ()),
    ("option_mappo/tool_delivery", ("network.coupling=autoregressive",)),
    ("navigation/safe_dagger", ()),
    ("ppo/pendulum", (LSTM,)),
    ("ddpg/pendulum", ()),
    ("evolution/cartpole", ()),
    ("secant/expert_from_states", ()),
    ("option_mappo/tool_delivery", ("network.coupling=partial",)),
    ("option_mappo/tool_delivery", ("network.coupling=joint",)),
    ("option_mappo/tool_delivery", ("network.coupling=factorised",)),
    ("option_mappo/mac_dqn_tool_delivery", ()),
    ("secant/student_from_states", ()),
]


def exported(folder, output, *overrides):
    with config_folder():
        asked = compose_root("export", [f"run={folder}", f"output={output}", "trials=2", "batch=3", *overrides])
    return export(asked)


@pytest.fixture
def run(trained):
    def finished(preset, *overrides):
        return folder_of(*trained(preset, "trainer.max_epochs=1", *overrides)).path

    return finished


@pytest.mark.parametrize(("preset", "overrides"), first(3, FAMILIES))
def test_every_family_is_exported_and_checked(preset, overrides, run, tmp_path, capsys):
    folder = run(preset, *overrides)
    target = exported(folder, tmp_path / "p.onnx")
    shown = capsys.readouterr().out
    assert "exported: " in shown and "PyTorch: " in shown and "of the network's, relative to the largest" in shown
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    about = json.loads(target.with_suffix(".json").read_text())
    assert [one.name for one in session.get_inputs()] == list(about["inputs"])
    assert [one.name for one in session.get_outputs()] == list(about["outputs"])
    given = {
        name: np.zeros([7, *said["shape"][1:]], said["dtype"]) for name, said in about["inputs"].items()
    }  # another batch than the one that it was made with
    for part, said in zip(session.run(None, given), about["outputs"].values(), strict=True):
        assert part.shape == (7, *said["shape"][1:]) and part.dtype == said["dtype"]
    exported(folder, tmp_path / "p.pt2", "format=pt2")
    loaded = torch.export.load(tmp_path / "p.pt2").module()
    with torch.no_grad():
        again = loaded(*(torch.from_numpy(part) for part in given.values()))
    for one, other in zip(again, session.run(None, given), strict=True):
        assert np.allclose(one.numpy(), other, atol=1e-4)


def test_a_file_says_which_number_is_which_part(run, tmp_path):
    folder = run("ppo/cartpole", "env=gymnasium", "datamodule.env.id=Blackjack-v1", "datamodule.film_episodes=0")
    about = json.loads(exported(folder, tmp_path / "p.onnx").with_suffix(".json").read_text())
    assert about["parts of action"] == [{"name": "", "count": 1, "space": "Discrete(2)"}]
    assert about["parts of state"] == [
        {"name": str(number), "count": count, "space": f"Discrete({count})"} for number, count in enumerate((32, 11, 2))
    ]


@pytest.mark.parametrize("preset", first(1, ["ppo/pendulum", "ddpg/pendulum", "evolution/cartpole"]))
def test_a_file_acts_as_the_policy_does(preset, run, tmp_path):
    folder = run(preset)
    session = onnxruntime.InferenceSession(str(exported(folder, tmp_path / "p.onnx")))
    module, data = trained_module(folder.parent.parent, str(folder))
    world = data.env.make()
    seen, policy = world.reset(3), module.network.eval()
    for _ in range(5):
        (expected,) = policy.act({"state": torch.from_numpy(seen["state"])[None]}, None, True).action
        action = session.run(["action"], {"state": seen["state"][None].astype(np.float32)})[0][0]
        assert np.allclose(action, expected.numpy(), atol=1e-5)
        seen = world.step(action)[0]
    world.close()


def test_a_recurrent_policy_gives_its_memory_back(run, tmp_path):
    folder = run("ppo/pendulum", LSTM)
    session = onnxruntime.InferenceSession(str(exported(folder, tmp_path / "p.onnx")))
    module, _ = trained_module(folder.parent.parent, str(folder))
    policy, memory = module.network.eval(), module.network.initial_state(2)
    mine = {name: part.numpy() for name, part in zip(("hidden", "cell"), memory, strict=True)}
    for _ in range(3):
        state = torch.randn(2, 3)
        step = policy.act({"state": state}, memory, True)
        memory = step.state
        action, _, hidden, cell = session.run(None, {"state": state.numpy(), **mine})
        mine = {"hidden": hidden, "cell": cell}
        assert np.allclose(action, step.action.numpy(), atol=1e-5) and np.allclose(cell, memory[1].numpy(), atol=1e-5)


@pytest.mark.parametrize("projection", [None, 5])
def test_a_navigator_is_told_features_and_says_what_it_says_of_states(projection, run):
    folder = run("navigation/behaviour_cloning", f"network.projection={json.dumps(projection)}")
    module, data = trained_module(folder.parent.parent, str(folder))
    network = module.network.eval()
    plain, raw = Navigating(network), network.get_buffer("raw")[0]
    count = len(data.tables.scene_of)
    history = torch.randint(count, (20, 4), generator=torch.Generator().manual_seed(0))
    target, scene = history[:, 1], data.tables.scene_of[history[:, 3]]
    from visagent.envs.navigation import NavigationObservation

    expected = network(NavigationObservation(history, target, scene)).logits
    (logits,) = plain(raw[history], raw[target], scene)
    assert torch.allclose(logits, expected, atol=1e-5) and logits.std() > 0


def test_what_learns_nothing_has_no_exported_form(run, tmp_path):
    with pytest.raises(ConfigError, match="has no exported form"):
        exported(run("baseline/random", "env=pendulum"), tmp_path / "p.onnx")


@pytest.mark.slow
def test_the_documents_script_runs_a_policy_without_visagent(run, tmp_path):
    exported(run("ppo/pendulum"), tmp_path / "policy.onnx")
    text = (ROOT / "docs" / "models.md").read_text()
    (script,) = [part.split("```")[0] for part in text.split("```python\n")[1:] if "gymnasium.make" in part]
    assert len(script.splitlines()) <= 12 and "visagent" not in script
    (tmp_path / "act.py").write_text(script)
    blocked = "import sys; sys.modules['visagent'] = sys.modules['torch'] = None; exec(open('act.py').read())"
    done = subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert -2000 < float(done.stdout.split()[-1]) < 0
    shutil.rmtree(tmp_path)

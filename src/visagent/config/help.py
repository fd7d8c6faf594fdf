"""`--help` of the Hydra commands, from the config folder's listing.

Hydra's own help composes every group anew, which takes more than a second with a dozen groups and grows with each of
them.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from visagent.config.presets import description, groups, options, presets

PAPER = "_paper"
"""How presets of the papers' sizes end."""
NAMES = 36
"""Columns for their names; longer ones take what they need."""
INTERNAL = ("debug_data", "experiment", "hydra")

TRAIN = """visagent-train: train an agent, evaluate it, keep a resumable run.

  visagent-train experiment=navigation/dagger                            train; the same command again resumes
  visagent-train experiment=navigation/dagger seed=3 optimizer.lr=5e-4   override any key of the config
  visagent-train -m experiment=navigation/behaviour_cloning seed=0,1,2   sweep, under one parent run in MLflow
  visagent-train experiment=navigation/dagger debug=smoke                the whole path in seconds
  visagent-train experiment=navigation/dagger datamodule.scenes=DIR datamodule.scene_names=[]   all dumps of a folder
  visagent-train experiment=rubiksnet/something_v2                       action recognition on synthetic videos
  visagent-train experiment=ppo/cartpole                                 reinforcement learning with actors
  visagent-train experiment=navigation/dagger --cfg job                  show the composed config

presets (experiment=NAME; NAME[_paper]: there is NAME_paper too, of the paper's size)
{presets}

groups and their options (group=option)
{groups}

visagent-info presets [WORD ...] says more of presets, visagent-info GROUP=OPTION of settings.
-m sweeps, --watch draws curves in the terminal, --cfg job shows the config (--resolve resolves it), --info for Hydra's
own details."""

EVALUATE = """visagent-evaluate: test a trained run again.

  visagent-evaluate run=r3f2                              the run's own test episodes
  visagent-evaluate run=r3f2 datamodule.seed=7            other starts
  visagent-evaluate run=r3f2 datamodule.max_steps=200     another cut-off; any data setting of the run
  visagent-evaluate run=r3f2 trainer.accelerator=gpu      another device
  visagent-evaluate run=r3f2 --allow-targets my_worlds    a run with your code, which its folder may then run
  visagent-evaluate run=r3f2,r81c fuse=[1,1]              several, and the late fusion of classifiers
  visagent-evaluate weights=FILE experiment=rubiksnet/something_v2 network=tsm   weights from elsewhere

run=... takes a signature, the beginning of one, or a folder. Numbers, pictures and predictions go to RUN/evaluations/;
the run's own record stays as it is. weights=... (a file, run:SIGNATURE) makes a run of its own that trains nothing, and
takes whatever visagent-train does, logger= and seed= too."""

EXPORT = """visagent-export: a trained network as a file for other programs, checked against the network itself.

  visagent-export run=r3f2                                     ONNX, as RUN/network.onnx with network.json beside it
  visagent-export run=r3f2 format=pt2                          a PyTorch 2 archive; it needs 'import cuda_ext.ops'
  visagent-export checkpoint=rubiksnet_tiny.pth.tar            a checkpoint of RubiksNet's released format
  visagent-export run=r3f2 output=net.onnx batch=4 threads=2   another file; the batch and the threads that are timed
  visagent-export run=r3f2 --allow-targets my_networks         a run with your code, which its folder may then run

Networks of videos take normalised clips [N, T, 3, H, W] and give logits [N, classes]; attention (RS-AQ) becomes whole
shifts. Policies, those over options and navigators are written with their normalisers. The JSON beside the file
describes what goes in and comes out."""


def help_text(root: str) -> str:
    """The help of `visagent-train` (root `train`), `visagent-evaluate` or `visagent-export`."""
    if root != "train":
        return {"evaluate": EVALUATE, "export": EXPORT}[root]
    there = [
        textwrap.fill(f"{group}: {', '.join(found)}", _width(), initial_indent="  ", subsequent_indent="      ")
        for group in groups()
        if group not in INTERNAL and (found := options(group))
    ]
    return TRAIN.format(presets="\n".join(_in_short()), groups="\n".join(there))


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _in_short() -> list[str]:
    """A line for each preset, and none for those of a paper's size that also are smaller."""
    names = sorted(presets())
    shown = {
        name: f"{name}[{PAPER}]" if f"{name}{PAPER}" in names else name
        for name in names
        if name.removesuffix(PAPER) == name or name.removesuffix(PAPER) not in names
    }
    out = []
    for name, as_shown in shown.items():
        head = f"  {as_shown:{NAMES}}  "
        room = max(0, _width() - len(head))
        said = re.split(r"(?<!et al)\.(?: |$)", description(name))[0]
        out.append((head + textwrap.shorten(said, room, placeholder=" ...")).rstrip())
    return out


def in_full(words: Sequence[str]) -> str:
    """The presets with what they say of themselves, those that all words match; of those whose names do, these alone.
    Empty where there is none.

    Args:
        words: parts of their names, or words of their descriptions.
    """
    told = {name: description(name) for name in sorted(presets())}
    asked = [word.lower() for word in words]
    named = [name for name in told if all(word in name for word in asked)]
    described = [n for n in told if all(re.search(rf"\b{re.escape(word)}", f"{n} {told[n]}".lower()) for word in asked)]
    lines = list[str]()
    for name in named or described:
        lines += [name, *textwrap.wrap(told[name], _width(), initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)

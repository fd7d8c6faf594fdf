"""Policies as other programs run them: tensors in, tensors out, normalisers of observations inside."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visagent.envs.navigation import HISTORY, SceneTables
from visagent.envs.option_worlds import OptionSpaces
from visagent.envs.spaces import WorldSpaces
from visagent.networks.deploy import Exportable, Input
from visagent.networks.navigation import NavigationNetwork
from visagent.networks.option_policies import Situation
from visagent.scenes.graph import ACTIONS

MEMORY = ("hidden", "cell")
"""Names of what a recurrent policy is given and gives back, zeros where an episode begins."""


class Acting(nn.Module):
    """A policy's most likely actions.

    Args:
        policy: acts.
        parts: of observations, in the order of the arguments; a recurrent policy takes its memory after them.
    """

    def __init__(self, policy: nn.Module, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.policy, self.parts = policy, parts

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The action `[N, ...]`, what its distribution is made of where the policy says it, and the memory after."""
        seen, memory = given[: len(self.parts)], given[len(self.parts) :]
        policy: Any = self.policy
        step = policy.act(dict(zip(self.parts, seen, strict=True)), memory or None, True)
        said = [step.action] if step.parameters is None else [step.action, step.parameters]
        return tuple(tensor.clone() for tensor in [*said, *(step.state or ())])


def acting(policy: nn.Module, spaces: WorldSpaces) -> Exportable:
    """A policy of reinforcement learning, or a student.

    Args:
        policy: changed to eval mode.
        spaces: what it sees and does.
    """
    policy = policy.float().eval()
    begin: Any = getattr(policy, "initial_state", None)
    seen = {name: Input(shape, "uint8" if name == "pixels" else "float32") for name, shape in _seen(policy, spaces)}
    state = None if begin is None else begin(1)
    recurrent = {} if state is None else {name: Input((state[0].shape[1],)) for name in MEMORY}
    network = Acting(policy, tuple(seen))
    inputs = {**seen, **recurrent}
    outputs = network(*(given.example(2) for given in inputs.values()))
    names = ["action", *["parameters"] * (len(outputs) - 1 - len(recurrent)), *(f"next_{name}" for name in recurrent)]
    about: dict[str, Any] = {
        "actions": {"kind": spaces.action.kind, "size": spaces.action.size},
        "frames": spaces.frames,
    }
    if spaces.action.choices:
        about["actions"]["choices"] = list(spaces.action.choices)
    about |= {f"parts of {name}": [asdict(part) for part in parts] for name, parts in spaces.parts.items()}
    if spaces.masked:
        about["mask"] = "1 for each choice of the action that is valid, 0 for the others"
    if spaces.action.kind == "continuous":
        about["actions"]["range"] = "clip to [-1, 1]; -1 and 1 are the least and the largest that the world takes"
    if "parameters" in names:
        about["parameters"] = (
            "means of all components, then logarithms of their standard deviations, along the last axis"
            if spaces.action.kind == "continuous"
            else "logits of the actions, of each number's choices one after the other"
            if spaces.action.choices
            else "logits of the actions"
        )
    if "pixels" in seen:
        about["pixels"] = "RGB frames of 3 channels each, the oldest first"
    if recurrent:
        about["memory"] = "hidden and cell are zeros where an episode begins, then next_hidden and next_cell"
    return Exportable(network, network, inputs, tuple(names), about)


def _seen(policy: nn.Module, spaces: WorldSpaces) -> list[tuple[str, tuple[int, ...]]]:
    """Parts of an observation that the policy reads: a student sees no state that its expert does."""
    wanted = getattr(policy, "sees", tuple(spaces.observation))
    return [(name, shape) for name, shape in spaces.observation.items() if name in wanted]


class Choosing(nn.Module):
    """The most probable joint options of a network.

    Args:
        network: chooses.
        sizes: options of each agent.
    """

    def __init__(self, network: nn.Module, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.sizes = network, sizes

    def forward(self, observation: Tensor, options: Tensor, choosing: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Joint options `[N, n]`, of agents that do not choose the running ones, and the memory afterwards."""
        offered = torch.ones(observation.shape[0], sum(self.sizes), dtype=torch.bool)
        network: Any = self.network
        situation = Situation(observation, options, choosing, offered, memory=memory[0] if memory else None)
        choice = network.choose(situation, True)
        return (choice.options.clone(), *([choice.memory.clone()] if memory else []))


def choosing(network: nn.Module, spaces: OptionSpaces) -> Exportable:
    """A policy over options of several agents.

    Args:
        network: changed to eval mode.
        spaces: what the agents see and choose from.
    """
    network = network.float().eval()
    inputs = {
        "observation": Input((sum(spaces.observations),)),
        "options": Input((len(spaces.sizes),), "int64", spaces.sizes),
        "choosing": Input((len(spaces.sizes),), "bool"),
    }
    remembered = int(getattr(network, "memory_size", 0))
    if remembered:
        inputs["memory"] = Input((remembered,))
    about: dict[str, Any] = {
        "agents": {
            name: {"observation": seen, "options": list(options)}
            for name, seen, options in zip(spaces.agents, spaces.observations, spaces.options, strict=True)
        },
        "observation": "of all agents, one after the other",
        "options": "running ones; what stands there for an agent that chooses does not matter",
        "available": "all options are on offer",
    }
    if remembered:
        about["memory"] = "zeros where an episode begins, then next_memory of the decision before"
    both = Choosing(network, spaces.sizes)
    return Exportable(both, both, inputs, ("next_options", *(["next_memory"] if remembered else [])), about)


class Navigating(nn.Module):
    """A navigation network that is given features, where the suite's own looks them up by state.

    Args:
        network: left as it is.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, network: NavigationNetwork) -> None:
        super().__init__()
        network.refresh_table()
        self.siamese, self.fusion = network.siamese, network.fusion
        self.scene_layer, self.policy_head = network.scene_layer, network.policy_head
        self.projects = bool(network.basis.shape[1])
        scaled = (network.get_buffer("raw")[0] - network.mean) / network.std
        scale = (scaled @ network.basis).std().clamp_min(1e-6) if self.projects else torch.ones(())
        for name, value in (("mean", network.mean), ("std", network.std), ("basis", network.basis), ("scale", scale)):
            self.register_buffer(name, value.detach().clone())

    def forward(self, history: Tensor, target: Tensor, scene: Tensor) -> tuple[Tensor]:
        """Logits of the actions `[N, 4]` of features `[N, 4, D]`, the oldest first, of the target's `[N, D]`, and of
        scenes `[N]`.
        """
        seen = self._embedded(history)
        wanted = self._embedded(target[:, None].expand(-1, HISTORY, -1))
        joint = F.relu(self.fusion(torch.cat([seen, wanted], dim=1)))
        hidden = F.relu(self._of_scene(self.scene_layer, joint, scene))
        return (self._of_scene(self.policy_head, hidden, scene),)

    def _embedded(self, frames: Tensor) -> Tensor:
        scaled = (frames - self.mean) / self.std
        if self.projects:
            scaled = scaled @ self.basis / self.scale
        return F.relu(self.siamese(scaled.flatten(1)))

    @staticmethod
    def _of_scene(layer: Any, x: Tensor, scene: Tensor) -> Tensor:
        result: Tensor = torch.baddbmm(layer.bias[scene][:, :, None], layer.weight[scene], x[:, :, None])[:, :, 0]
        return result


def navigating(network: NavigationNetwork, tables: SceneTables) -> Exportable:
    """A navigation network.

    Args:
        network: changed to eval mode.
        tables: of its scenes.
    """
    plain = Navigating(network.float().eval())
    features = len(network.mean)
    inputs = {
        "history": Input((HISTORY, features)),
        "target": Input((features,)),
        "scene": Input((), "int64", (len(tables.names),)),
    }
    about = {
        "scenes": list(tables.names),
        "actions": list(ACTIONS),
        "features": {"extractor": str(tables.scenes[0].attributes.get("extractor", "unknown")), "scaled": "not"},
        "history": "features of the newest four states, the oldest first; where an episode begins, its first state's",
    }
    return Exportable(plain, plain, inputs, ("logits",), about)

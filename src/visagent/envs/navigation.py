"""Target-driven navigation in scene dumps, as one batched tensor world (Zhu et al. 2017; the paper, Section 3).

All scenes of a run share one numbering of states, so that every episode of every scene steps in one gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visagent.errors import ConfigError
from visagent.scenes.dump import Scene
from visagent.scenes.graph import ACTIONS

HISTORY = 4
"""Frames in an observation, oldest first."""
REWARD_GOAL, REWARD_COLLISION, REWARD_STEP = 10.0, -0.1, -0.01


class SceneTables:
    """The graphs and distances of several scenes as flat tensors.

    Attributes:
        names: scene names, index = scene id.
        graph: `[S, 4]` int64 next global state or -1.
        scene_of: `[S]` int64 scene id of a state.
        location: `[S, 2]` float64 metres; rotation: `[S]` int64 degrees.
        features: `[S, K, D]` float32 or None (worlds step without them).
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        if not scenes:
            raise ConfigError(
                "expected at least one scene, got zero: set datamodule.scene_names=[NAME,...] or datamodule.scenes=DIR"
            )
        self.scenes = tuple(scenes)
        self.names = tuple(scene.name for scene in scenes)
        self.room_types = tuple(scene.room_type for scene in scenes)
        counts = [len(scene) for scene in scenes]
        starts = np.concatenate([[0], np.cumsum(counts)])
        self.count = int(starts[-1])
        self.first = torch.as_tensor(starts[:-1], dtype=torch.int64)
        self.size = torch.as_tensor(counts, dtype=torch.int64)
        self.graph = torch.as_tensor(
            np.concatenate([np.where(s.graph >= 0, s.graph + f, -1) for s, f in zip(scenes, starts, strict=False)])
        )
        self.scene_of = torch.repeat_interleave(torch.arange(len(scenes)), self.size)
        self.location = torch.as_tensor(np.concatenate([scene.location for scene in scenes]))
        self.rotation = torch.as_tensor(np.concatenate([scene.rotation for scene in scenes]))
        # Distances of all pairs in all scenes in one flat array: int16 holds any scene's longest path.
        self._flat = torch.as_tensor(np.concatenate([scene.distance.astype(np.int16).ravel() for scene in scenes]))
        squares = np.concatenate([[0], np.cumsum(np.square(counts, dtype=np.int64))])
        self._flat_first = torch.as_tensor(squares[:-1], dtype=torch.int64)

    def to(self, device: torch.device | str) -> SceneTables:
        """The same tables on another device (this object when it is there already)."""
        if self.graph.device == torch.device(device):
            return self
        other = object.__new__(SceneTables)
        other.__dict__.update(
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in self.__dict__.items()}
        )
        return other

    def distance(self, state: Tensor, target: Tensor) -> Tensor:
        """Steps from `state` to `target`, broadcast, int64; -1 where the target cannot be reached or is in another
        scene.
        """
        state, target = torch.broadcast_tensors(state, target)
        scene = self.scene_of[target]
        row, column = state - self.first[scene], target - self.first[scene]
        same = self.scene_of[state] == scene
        index = self._flat_first[scene] + torch.where(same, row, 0) * self.size[scene] + column
        return torch.where(same, self._flat[index].long(), -1)

    def global_state(self, name: str, state: int) -> int:
        """The global number of a scene's own state.

        Raises:
            ConfigError: for an unknown scene or a state it does not have.
        """
        if name not in self.names:
            raise ConfigError(f"unknown scene {name!r}: expected one of {', '.join(self.names)}")
        scene = self.names.index(name)
        if not 0 <= state < int(self.size[scene]):
            raise ConfigError(f"scene {name}: expected a state in 0..{int(self.size[scene]) - 1}, got {state}")
        return int(self.first[scene]) + state


@dataclass(frozen=True)
class NavigationObservation:
    """What a navigating agent sees, as state ids: networks hold the features.

    Attributes:
        history: `[B, 4]` int64 global states, oldest first.
        target: `[B]` int64 global state.
        scene: `[B]` int64.
    """

    history: Tensor
    target: Tensor
    scene: Tensor

    def __post_init__(self) -> None:
        if self.history.ndim != 2 or self.history.shape[1] != HISTORY or self.target.shape != self.history.shape[:1]:
            raise ValueError(
                f"observation: expected history [B, {HISTORY}] and target [B], got {list(self.history.shape)} and "
                f"{list(self.target.shape)}"
            )

    def __len__(self) -> int:
        return len(self.target)

    @property
    def state(self) -> Tensor:
        """The current state, `[B]`."""
        return self.history[:, -1]

    def select(self, index: Tensor) -> NavigationObservation:
        """The observations at `index` (ids or mask)."""
        return NavigationObservation(self.history[index], self.target[index], self.scene[index])


@dataclass(frozen=True)
class NavigationStep:
    """Result of one step: reward `[B]` float32, terminated, truncated and collided `[B]` bool."""

    observation: NavigationObservation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    collided: Tensor


class NavigationWorld:
    """B episodes side by side on any device.

    Actions are 0 MoveForward, 1 RotateRight, 2 RotateLeft, 3 MoveBackward. An episode ends on the target's exact pose
    (position and heading) or after `max_steps`. A collision leaves the agent where it is, yet the history moves on, so
    that four bumps in a row make all four frames equal. There is no automatic reset: finished episodes stand still and
    give no reward.
    """

    def __init__(self, tables: SceneTables, max_steps: int) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
        self.tables, self.max_steps = tables, max_steps
        self.history = torch.zeros(0, HISTORY, dtype=torch.int64, device=tables.graph.device)
        self.target = self.history.new_zeros(0)
        self.steps = self.history.new_zeros(0)
        self.finished = torch.zeros(0, dtype=torch.bool, device=tables.graph.device)

    def reset(self, starts: Tensor, targets: Tensor) -> NavigationObservation:
        """Begin episodes; the history is the start frame four times.

        Args:
            starts, targets: `[B]` global states.

        Raises:
            ValueError: where a start is its own target or cannot reach it.
        """
        device = self.tables.graph.device
        starts, targets = starts.to(device), targets.to(device)
        far = self.tables.distance(starts, targets)
        if bool((far <= 0).any()):
            bad = int(torch.nonzero(far <= 0)[0])
            start, target = int(starts[bad]), int(targets[bad])
            scene = int(self.tables.scene_of[target])
            reason = "is the target itself" if start == target else "cannot reach it"
            offset = int(self.tables.first[scene])
            raise ValueError(
                f"scene {self.tables.names[scene]}: start {start - offset} for target {target - offset} {reason}"
            )
        self.history = starts[:, None].repeat(1, HISTORY)
        self.target = targets
        self.steps = torch.zeros_like(starts)
        self.finished = torch.zeros_like(starts, dtype=torch.bool)
        return self.observation()

    def observation(self) -> NavigationObservation:
        """The current observation of every episode."""
        return NavigationObservation(self.history, self.target, self.tables.scene_of[self.target])

    def step(self, action: Tensor) -> NavigationStep:
        """Step all episodes with `action` `[B]` int64 in 0..3.

        Raises:
            ValueError: for a wrong shape or an action outside 0..3.
        """
        if action.shape != self.target.shape:
            raise ValueError(f"action: expected shape {list(self.target.shape)}, got {list(action.shape)}")
        if len(action) and not bool(((action >= 0) & (action < len(ACTIONS))).all()):
            raise ValueError(
                f"action: expected values in 0..{len(ACTIONS) - 1} ({', '.join(ACTIONS)}), got "
                f"{action.unique().tolist()}"
            )
        running = ~self.finished
        state = self.history[:, -1]
        following = self.tables.graph[state, action]
        collided = (following < 0) & running
        arrived = torch.where((following < 0) | ~running, state, following)
        moved = torch.cat([self.history[:, 1:], arrived[:, None]], dim=1)
        self.history = torch.where(running[:, None], moved, self.history)
        self.steps = self.steps + running
        terminated = running & (arrived == self.target)
        truncated = running & ~terminated & (self.steps >= self.max_steps)
        reward = torch.where(terminated, REWARD_GOAL, torch.where(collided, REWARD_COLLISION, REWARD_STEP))
        reward = torch.where(running, reward, 0.0)
        self.finished = self.finished | terminated | truncated
        return NavigationStep(self.observation(), reward, terminated, truncated, collided)

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing the episodes needs, as tensors."""
        return {"history": self.history, "target": self.target, "steps": self.steps, "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        device = self.tables.graph.device
        self.history, self.target = state["history"].to(device), state["target"].to(device)
        self.steps, self.finished = state["steps"].to(device), state["finished"].to(device)

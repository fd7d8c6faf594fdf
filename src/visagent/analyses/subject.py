"""What is analysed: a run's policy, its worlds, and trajectories in several looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.actors.evaluation import as_batch
from visagent.envs.world import Observation
from visagent.errors import ConfigError
from visagent.seeding import generator

Observations = Mapping[str, Tensor]
"""`[T, ...]` each."""
TRAINING = "train"
"""The look that policies are trained in; see `visagent.config.secant_schemas.LOOKS`."""


@dataclass(frozen=True)
class Trajectory:
    """An episode of a policy.

    Attributes:
        observations: before each action; pictures uint8 `[T, C, H, W]`.
        actions: float32 `[T, A]`.
        seed: of the world.
    """

    observations: Observations
    actions: NDArray[np.float32]
    seed: int


@dataclass(frozen=True)
class Subject:
    """A trained policy and where it acts.

    Attributes:
        policy: that tests of the run have; it says `embedding(observation)`.
        worlds: as it was trained.
        looks: that are analysed beside the training's.
    """

    policy: Any
    worlds: Any
    looks: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The training's look, then the others."""
        return (TRAINING, *(look for look in self.looks if look != TRAINING))

    def trajectory(self, seed: int, look: str = TRAINING) -> Trajectory:
        """An episode of the policy, in a look."""
        world = replace(self.worlds, look=look).make()
        try:
            seen, actions = [world.reset(seed)], []
            rng, state, over = generator(seed, "act"), self.policy.initial_state(1), False
            while not over:
                step = self.policy.act(as_batch(seen[-1]), state, True, rng)
                state, action = step.state, step.action[0].numpy()
                actions.append(action.astype(np.float32))
                observation, _, terminated, truncated = world.step(action)
                over = terminated or truncated
                seen.append(observation)
        finally:
            world.close()
        return Trajectory(_joined(seen[:-1]), np.stack(actions), seed)

    def again(self, trajectory: Trajectory, look: str) -> Observations:
        """The same actions from the same state in another look: what changes is the appearance alone."""
        world = replace(self.worlds, look=look).make()
        try:
            seen = [world.reset(trajectory.seed)]
            seen += [world.step(action)[0] for action in trajectory.actions[:-1]]
        finally:
            world.close()
        return _joined(seen)

    def embedded(self, observations: Observations) -> NDArray[np.float32]:
        """Embeddings `[T, D]` of the policy's visual encoder."""
        with torch.inference_mode():
            embeddings: NDArray[np.float32] = self.policy.embedding(observations).float().numpy()
        return embeddings


def _joined(seen: Sequence[Observation]) -> dict[str, Tensor]:
    batches = [as_batch(observation) for observation in seen]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def newest(pixels: Tensor) -> NDArray[np.uint8]:
    """The newest frame of stacked ones `[C, H, W]`, as a picture `[H, W, 3]`."""
    frame: NDArray[np.uint8] = pixels[-3:].permute(1, 2, 0).numpy()
    return frame


def subject_of(module: Any, datamodule: Any, looks: Sequence[str] | None) -> Subject:
    """What is analysed of a trained run.

    Args:
        module: of the run.
        datamodule: of the run.
        looks: None: those that it is tested in.

    Raises:
        ConfigError: where it has no policy of pictures, or its worlds have no such looks.
    """
    policy = module.acting_policy() if hasattr(module, "acting_policy") else None
    worlds: Any = getattr(datamodule, "env", None)
    if not (hasattr(policy, "embedding") and hasattr(worlds, "look") and "pixels" in datamodule.spaces.observation):
        raise ConfigError(
            "expected a run whose policy sees pictures in worlds that have looks, such as one of "
            f"experiment=secant/student, got one of {type(module).__name__}"
        )
    known = tuple(datamodule.looks)
    chosen = known if looks is None else tuple(looks)
    for look in chosen:
        if look not in known:
            replace(worlds, look=look)  # refuses what there is not
    return Subject(policy, worlds, chosen)

"""Batched rollouts of a policy in the navigation world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from visagent.envs.navigation import HISTORY, NavigationObservation, NavigationWorld, SceneTables
from visagent.errors import ConfigError
from visagent.experience.navigation import NavigationSamples
from visagent.experts.shortest_path import ShortestPathExpert
from visagent.networks.policy import Policy


@dataclass(frozen=True)
class Decision:
    """What a behaviour does with B observations: action `[B]`, and `asked` `[B]` bool where it turned to the expert."""

    action: Tensor
    asked: Tensor | None = None


Behaviour = Callable[[NavigationObservation, torch.Generator], Decision]


def follow(policy: Policy, deterministic: bool) -> Behaviour:
    """The policy alone, by argmax or by sampling."""

    def decide(observation: NavigationObservation, generator: torch.Generator) -> Decision:
        return Decision(policy.act(observation, deterministic=deterministic, generator=generator).action)

    return decide


def mix_with_expert(policy: Policy, expert: ShortestPathExpert, beta: float) -> Behaviour:
    """DAgger's pi_i = beta pi* + (1 - beta) pi (Ross et al. 2011): each episode and step draws on its own who acts.

    The expert's acts are not counted here: DAgger labels every visited state afterwards, once.
    """

    def decide(observation: NavigationObservation, generator: torch.Generator) -> Decision:
        action = policy.act(observation, deterministic=False, generator=generator).action
        if beta > 0.0:
            expert_acts = (torch.rand(len(observation), generator=generator) < beta).to(action.device)
            label = expert.peek(observation.state, observation.target)
            action = torch.where(expert_acts & label.valid, label.action, action)
        return Decision(action)

    return decide


def safety_strategy(policy: Policy, expert: ShortestPathExpert) -> Behaviour:
    """SafeDAgger's safety strategy (Zhang & Cho 2017, Section 3.2): safe - the policy acts; unsafe - the expert is
    asked and acts.

    Raises:
        ConfigError: when the policy has no safety policy.
    """

    def decide(observation: NavigationObservation, generator: torch.Generator) -> Decision:
        step = policy.act(observation, deterministic=False, generator=generator)
        if step.unsafe is None:
            raise ConfigError(
                "the safety strategy needs a policy with a safety policy: expected PolicyStep.unsafe, got None; type "
                "algorithm=safe_dagger"
            )
        action = step.action.clone()
        asked = torch.nonzero(step.unsafe)[:, 0]
        label = expert.label(observation.state[asked], observation.target[asked])
        # where the target cannot be reached, the expert knows nothing better
        action[asked] = torch.where(label.valid, label.action, action[asked])
        return Decision(action, step.unsafe)

    return decide


@dataclass(frozen=True)
class Rollout:
    """B finished episodes.

    Attributes:
        states: `[T + 1, B]` int32 global states, the last one repeated after an episode's end.
        target: `[B]` int64; length: `[B]` int64 steps taken; success: `[B]` bool; collisions: `[B]` int64.
        asked: `[T, B]` bool where the expert was asked, or None.
    """

    states: Tensor
    target: Tensor
    length: Tensor
    success: Tensor
    collisions: Tensor
    asked: Tensor | None

    @property
    def steps(self) -> int:
        """Steps taken in all episodes together."""
        return int(self.length.sum())

    def observations(self, tables: SceneTables, chosen: Tensor | None = None) -> NavigationObservation:
        """What the agent saw before each step it took, all episodes in one batch.

        Args:
            tables: give the scene of each target.
            chosen: `[T, B]` bool to take only some of the steps.
        """
        horizon = len(self.states) - 1
        taken = torch.arange(horizon, device=self.length.device)[:, None] < self.length
        if chosen is not None:
            taken = taken & chosen
        time, episode = torch.nonzero(taken, as_tuple=True)
        back = torch.arange(HISTORY - 1, -1, -1, device=time.device)
        history = self.states[(time[:, None] - back).clamp_min(0), episode[:, None]].long()
        target = self.target[episode]
        return NavigationObservation(history, target, tables.scene_of[target])


def rollout(
    behaviour: Behaviour, world: NavigationWorld, starts: Tensor, targets: Tensor, generator: torch.Generator
) -> Rollout:
    """Run one episode for every (start, target) pair, all at once, until the last has ended.

    Only running episodes are shown to the behaviour.

    Args:
        behaviour: decides; draws from `generator` only.
        world: gives the cut-off; it is reset here.
        starts, targets: `[B]` global states.
    """
    observation = world.reset(starts, targets)
    device, count = observation.target.device, len(observation)
    states = [observation.state.to(torch.int32)]
    asked: list[Tensor] = []
    success = torch.zeros(count, dtype=torch.bool, device=device)
    collisions = torch.zeros(count, dtype=torch.int64, device=device)
    while True:
        running = torch.nonzero(~world.finished)[:, 0]
        if len(running) == 0:
            break
        decision = behaviour(observation.select(running), generator)
        action = torch.zeros(count, dtype=torch.int64, device=device)
        action[running] = decision.action
        if decision.asked is not None:
            mask = torch.zeros(count, dtype=torch.bool, device=device)
            mask[running] = decision.asked
            asked.append(mask)
        step = world.step(action)
        observation = step.observation
        success |= step.terminated
        collisions += step.collided
        states.append(observation.state.to(torch.int32))
    return Rollout(
        torch.stack(states), world.target, world.steps, success, collisions, torch.stack(asked) if asked else None
    )


def label_rollout(
    path: Rollout, expert: ShortestPathExpert, chosen: Tensor | None = None, count: bool = True
) -> NavigationSamples:
    """The steps of a rollout with the expert's labels, without those from which the target cannot be reached:
    `expert.unreachable` counts these.

    Args:
        chosen: `[T, B]` bool, label only these steps.
        count: whether the labels count as queries (False where the expert has been asked for them already).
    """
    observation = path.observations(expert.tables, chosen)
    label = (expert.label if count else expert.peek)(observation.state, observation.target)
    expert.unreachable += int((~label.valid).sum())
    return NavigationSamples.pack(
        observation.select(label.valid), label.action[label.valid], label.optimal[label.valid]
    )

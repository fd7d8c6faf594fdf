"""SafeDAgger's data: the expert is asked only where the safety policy warns (Zhang & Cho 2017; Algorithm 2 of the
paper).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from datamodules.dagger import DAggerDataModule
from datamodules.navigation import SampleLoader
from visagent.actors.navigation_rollout import follow, label_rollout, rollout, safety_strategy
from visagent.config.navigation_schemas import SafeDAggerDataSettings
from visagent.experience.navigation import NavigationBatch, NavigationSamples
from visagent.seeding import generator

log = logging.getLogger(__name__)


class SafeRoundLoader:
    """One round: the policy's passes, then the safety policy's updates on D_safe and D_i, then one calibration batch.

    D_safe is collected when the first safety batch is asked for, that is, by the policy just trained.
    """

    def __init__(self, policy_batches: SampleLoader, data: SafeDAggerDataModule, epoch: int) -> None:
        self.policy_batches, self.data, self.epoch = policy_batches, data, epoch

    def __len__(self) -> int:
        return len(self.policy_batches) + self.data.settings.safety_updates + 1

    def __iter__(self) -> Iterator[NavigationBatch]:
        yield from self.policy_batches
        data = self.data
        data.collect_safety()
        held_out, scene_of = data.safety_fit, data.tables.scene_of
        learned, rng = data.data.samples, generator(data.settings.seed, "safety batches", self.epoch)
        rank, world = data.shard()
        half = data.settings.batch_size // 2
        for update in range(data.settings.safety_updates):
            # Half from D_safe, half from D_i: the policy is right on nearly all of D_i, so D_safe carries the unsafe
            # states.
            parts = [
                source.batch(torch.randint(len(source), (half,), generator=rng)[rank::world], scene_of)
                for source in (held_out, learned)
            ]
            yield _join(parts, "safety", update / data.settings.safety_updates)
        every = data.safety_calibration
        yield every.batch(torch.arange(len(every)), scene_of, "calibration")


def _join(parts: list[NavigationBatch], part: str, progress: float) -> NavigationBatch:
    observation = type(parts[0].observation)(
        torch.cat([p.observation.history for p in parts]),
        torch.cat([p.observation.target for p in parts]),
        torch.cat([p.observation.scene for p in parts]),
    )
    return NavigationBatch(
        observation, torch.cat([p.action for p in parts]), torch.cat([p.optimal for p in parts]), part, progress
    )


class SafeDAggerDataModule(DAggerDataModule):
    """DAgger with a safety policy.

    D_safe comes from held-out rollouts of the first policy and stays apart: after training the policy is right on
    nearly all of its own data, which therefore shows the safety policy no unsafe state. One half of it fits the safety
    policy, the other half chooses its threshold. Its labels are expert queries too and are reported apart.

    Args:
        settings: see `visagent.config.navigation_schemas.SafeDAggerDataSettings`.
    """

    settings: SafeDAggerDataSettings

    def __init__(self, settings: SafeDAggerDataSettings) -> None:
        super().__init__(settings)
        self.safety_fit = NavigationSamples.empty()
        self.safety_calibration = NavigationSamples.empty()
        self.safety_queries = 0
        self.rollout_steps = 0

    def loader(self, epoch: int) -> Any:
        """The round's policy batches followed by its safety batches."""
        return SafeRoundLoader(super().loader(epoch), self, epoch)

    def collect(self, round: int) -> NavigationSamples:
        """D_i: the states of the safety strategy's rollouts at which the expert was asked (subset selection, step
        2).
        """
        episodes = self.starts(self.targets, self.settings.collect_starts_per_target, "collect", round)
        behaviour = safety_strategy(self.policy(), self.expert)
        path = rollout(behaviour, self.world(), *episodes, generator(self.settings.seed, "collect", round))
        assert path.asked is not None
        self.rollout_steps += path.steps
        samples = label_rollout(path, self.expert, path.asked, count=False)
        log.info("round %d: the expert was asked in %d of %d states", round, len(samples), path.steps)
        return samples

    def training_episodes(self, rounds: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super().training_episodes(rounds)
        yield self.starts(self.targets, self.settings.safety_starts_per_target, "safety")

    def collect_safety(self) -> None:
        """D_safe by the current policy, once."""
        if len(self.safety_fit):
            return
        episodes = self.starts(self.targets, self.settings.safety_starts_per_target, "safety")
        behaviour = follow(self.policy(), deterministic=False)
        path = rollout(
            behaviour, self.world(self.settings.safety_max_steps), *episodes, generator(self.settings.seed, "safety")
        )
        before = self.expert.queries
        samples = label_rollout(path, self.expert)
        # These labels serve the safety policy, not the policy: they are counted apart.
        self.safety_queries, self.expert.queries = self.expert.queries - before, before
        self.rollout_steps += path.steps
        shuffled = torch.randperm(len(samples), generator=generator(self.settings.seed, "safety split"))
        half = max(1, len(samples) // 2)
        self.safety_fit, self.safety_calibration = samples.select(shuffled[:half]), samples.select(shuffled[half:])

    @property
    def env_steps(self) -> int:
        """Demonstrations and all rollout steps, labelled or not."""
        return (len(self.data.rounds[0]) if self.data.rounds else 0) + self.rollout_steps

    def statistics(self) -> dict[str, float]:
        """Adds the queries spent on D_safe."""
        return {
            **super().statistics(),
            "data/safety_queries": float(self.safety_queries),
            "data/safety_samples": float(len(self.safety_fit) + len(self.safety_calibration)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Adds D_safe and its counters."""
        safety = {
            "fit": list(self.safety_fit.tensors()),
            "calibration": list(self.safety_calibration.tensors()),
            "queries": self.safety_queries,
            "rollout_steps": self.rollout_steps,
        }
        return {**super().state_dict(), "safety": safety}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with D_safe."""
        super().load_state_dict(state_dict)
        safety = state_dict["safety"]
        self.safety_fit, self.safety_calibration = (
            NavigationSamples(*safety["fit"]),
            NavigationSamples(*safety["calibration"]),
        )
        self.safety_queries, self.rollout_steps = safety["queries"], safety["rollout_steps"]

"""What actors say of a batch, logged by the module that learns from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_modules.episode_evaluation import EpisodeEvaluation
from visagent.experience.rollouts import Episode


class ActorReport(EpisodeEvaluation):
    """Logs episodes and rates of a module that learns from what actors do."""

    iterations: Tensor
    _since: tuple[float, int, int] | None = None

    def report(self, episodes: Sequence[Episode], timing: Mapping[str, float], lag: float) -> None:
        """Log what the actors say of a batch.

        Args:
            episodes: that ended in it.
            timing: seconds of this rank's actors, by what they did.
            lag: versions of the policy since the one that acted.
        """
        sums = {**{f"time/actors_{name}": seconds for name, seconds in timing.items()}, **self.data.statistics()}
        rewards, steps = sum(episode.total_reward for episode in episodes), sum(episode.steps for episode in episodes)
        numbers = torch.tensor([*sums.values(), lag, len(episodes), rewards, steps], dtype=torch.float64)
        *values, lag, count, rewards, steps = self.ranks.sum(
            numbers.to(self.device, torch.get_default_dtype())
        ).tolist()
        self._log_rates()
        metrics = {**dict(zip(sums, values, strict=True)), "data/policy_lag": lag / self.trainer.world_size}
        if count:
            metrics |= {"data/episode_return": rewards / count, "data/episode_steps": steps / count}
            self.log("data/return", rewards / count, prog_bar=True, logger=False)
        self.log_dict(metrics)
        self.log("step", self.env_steps.float())

    @property
    def done(self) -> int:
        """Iterations of the learner, as the method counts them."""
        return int(self.iterations)

    def _log_rates(self) -> None:
        """Steps of the worlds and iterations of the learner in a second, since the first batch of the epoch."""
        now = (time.perf_counter(), int(self.env_steps), self.done)
        if self._since is None:
            self._since = now
            return
        seconds, steps, iterations = (new - old for new, old in zip(now, self._since, strict=True))
        self.log_dict(
            {"time/env_steps_per_second": steps / seconds, "time/iterations_per_second": iterations / seconds}
        )

    def on_train_epoch_start(self) -> None:
        self._since = None

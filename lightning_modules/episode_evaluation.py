"""Evaluating a policy on episodes, whatever it learned by."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_modules.full_precision import in_full_precision
from visagent.actors.evaluation import AT_ONCE, Played
from visagent.learning.ranks import Ranks
from visagent.learning.sources import ExperienceSource
from visagent.networks.deploy import Exportable
from visagent.networks.deploy_policies import acting

UNKNOWN = -1.0
"""For the success of an episode whose world does not say."""


class EpisodeEvaluation(pl.LightningModule):
    """Validates and tests `network` on seeded episodes of the DataModule's, which are shared among ranks."""

    network: Any
    env_steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.films: dict[str, Any] = {}

    @property
    def data(self) -> ExperienceSource:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined, no-any-return]

    @property
    def ranks(self) -> Ranks:
        """The processes of the run."""
        return Ranks(self.global_rank, self.trainer.world_size)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: Any, batch_index: int, dataloader_idx: int = 0) -> None:
        look = getattr(batch, "look", None)
        self.evaluate(batch, "test" if look is None else f"test/{look}")
        policy, name = copy.deepcopy(self.network).cpu().eval(), "test_episode" if look is None else f"test_{look}"
        self.films |= {
            f"{name}_{number}": batch.film(policy, seed) for number, seed in enumerate(batch.seeds[: batch.films])
        }

    def videos(self) -> dict[str, Any]:
        """Test episodes to be filmed, by name."""
        return self.films

    def exported(self) -> Exportable:
        """The trained policy for other programs."""
        return acting(copy.deepcopy(self.network).cpu(), self.data.spaces)

    def play(self, seeds: Sequence[int]) -> Iterator[Played]:
        """Episodes of the trained policy, one for each seed, each by itself."""
        data: Any = self.data
        batch = data.evaluation(tuple(seeds), len(seeds))
        for seed in seeds:
            policy = copy.deepcopy(self.network).cpu().eval()
            (episode,) = batch.run(policy, (seed,))
            numbers = {"return": float(episode.total_reward), "steps": float(episode.steps)}
            if episode.success is not None:
                numbers["success"] = float(episode.success)
            numbers |= {name: float(getattr(episode, name)) for name in batch.extras}
            yield Played(seed, numbers, batch.film(policy, seed))

    @in_full_precision
    def evaluate(self, batch: Any, split: str) -> None:
        """Log means over episodes.

        Args:
            batch: the episodes, an `datamodules.actors.EvaluationEpisodes`.
            split: before the last slash of the metrics' names.
        """
        policy = copy.deepcopy(self.network).cpu().eval()
        # what runs together stays together
        groups = [batch.seeds[start : start + AT_ONCE] for start in range(0, len(batch.seeds), AT_ONCE)]
        numbers = torch.zeros(len(groups), AT_ONCE, 3 + len(batch.extras), device=self.device)
        for group in range(self.ranks.rank, len(groups), self.ranks.count):
            for place, episode in enumerate(batch.run(policy, groups[group])):
                known = UNKNOWN if episode.success is None else float(episode.success)
                more = [getattr(episode, name) for name in batch.extras]
                numbers[group, place] = torch.tensor([episode.total_reward, episode.steps, known, *more])
        numbers = self.ranks.sum(numbers)
        returns, steps, success, *extras = numbers.flatten(0, 1)[: len(batch.seeds)].cpu().unbind(-1)
        metrics = {"return_std": returns.std(unbiased=False), "episode_steps": steps.mean()}
        metrics |= {name: values.mean() for name, values in zip(batch.extras, extras, strict=True)}
        if batch.solved_return is not None:
            metrics["solved_rate"] = (returns >= batch.solved_return).float().mean()
        if success.min() > UNKNOWN:
            metrics["success_rate"] = success.mean()
        self.log(f"{split}/return", returns.mean(), prog_bar=True, batch_size=1, add_dataloader_idx=False)
        named = {f"{split}/{name}": value for name, value in metrics.items()}
        if getattr(batch, "look", None) is None:  # Lightning takes one number of a name alone
            named["step"] = self.env_steps.float()
        self.log_dict(named, batch_size=1, add_dataloader_idx=False)

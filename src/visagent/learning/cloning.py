"""Behaviour cloning as a first stage of a method that learns from acting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visagent.envs.demonstrated import Demonstrated
from visagent.errors import ConfigError
from visagent.networks.actor_critic import ActorCritic


@dataclass(frozen=True)
class Cloning:
    """Imitates demonstrations before anything is collected: the policy maximises the log-likelihood of their actions
    (Pomerleau 1991), the critic learns their discounted returns. The standard deviation of continuous actions stays as
    it is, for what is explored afterwards.

    Args:
        demonstrations: Minari's name of a data set, or a data set's folder; None for no such stage.
        episodes: of them; None for all.
        epochs: passes over their steps.
        batch_size: steps of an update.
        lr: learning rate of Adam.
    """

    demonstrations: str | None
    episodes: int | None
    epochs: int
    batch_size: int
    lr: float

    def run(
        self, network: ActorCritic, shown: Demonstrated, returns: Tensor | None, order: torch.Generator
    ) -> dict[str, float]:
        """Train a network in place.

        Args:
            network: without an LSTM; its z-filter, where it has one, begins with what was demonstrated.
            shown: to be imitated.
            returns: `[N]`, for the critic; None to leave it as it is.
            order: of the steps.

        Returns:
            Means over the last pass: the loss, and the share of actions that are the demonstrated ones (discrete) or
            their mean absolute error (continuous).

        Raises:
            ConfigError: when the network is recurrent.
        """
        if network.recurrent:
            raise ConfigError(
                "network.lstm: expected 0 where demonstrations are imitated (algorithm.cloning.demonstrations), got an "
                "LSTM; type network.lstm=0"
            )
        device = next(network.parameters()).device
        if network.normalizer is not None:
            network.normalizer.update(shown.observation["state"].to(device))
        learned = [parameter for name, parameter in network.named_parameters() if name != "log_std"]
        optimizer, count = torch.optim.Adam(learned, self.lr), len(shown)
        results: dict[str, float] = {}
        for _ in self._passes():
            sums: dict[str, float] = {}
            for rows in torch.randperm(count, generator=order).split(self.batch_size):
                part = {name: array[rows].to(device) for name, array in shown.observation.items()}
                judged, action = network(part), shown.action[rows].to(device)
                loss = -network.distribution.log_prob(judged.parameters, action).mean()
                if returns is not None:
                    loss = loss + 0.5 * (judged.value - returns[rows].to(device)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                mode = network.distribution.mode(judged.parameters.detach())
                apart = (mode - action).abs() if network.continuous else (mode == action)
                name = "cloning_error" if network.continuous else "cloning_agreement"
                for key, value in (("cloning_loss", loss.detach()), (name, apart.float().mean())):
                    sums[key] = sums.get(key, 0.0) + float(value) * len(rows) / count
            results = sums
        return results

    def _passes(self) -> Any:
        from rich.progress import track

        return track(range(self.epochs), "demonstrations", transient=True)

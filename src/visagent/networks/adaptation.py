"""A policy that goes on learning while it acts, without rewards (policy adaptation during deployment, PAD: Hansen et
al. 2021).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visagent.augment.images import random_crop
from visagent.networks.inverse_dynamics import InverseDynamics
from visagent.networks.policy import PolicyStep
from visagent.networks.soft_actor_critic import SoftActorCritic

Observation = Mapping[str, Tensor]


class Adapted:
    """One episode's copy of what adapts, and what it has last seen and done."""

    def __init__(self, stem: nn.Module, inverse: nn.Module, lr: float) -> None:
        self.stem, self.inverse = copy.deepcopy(stem).requires_grad_(), copy.deepcopy(inverse).requires_grad_()
        self.optimizer = torch.optim.Adam([*self.stem.parameters(), *self.inverse.parameters()], lr=lr)
        self.before: tuple[Tensor, Tensor] | None = None
        """Pictures `[1, C, H, W]` and the action `[1, A]` that followed."""


class AdaptedEpisodes(list[Adapted]):
    """The states of episodes; one that begins again begins with what was trained."""

    def __init__(self, policy: AdaptingPolicy, count: int) -> None:
        self.policy = policy
        super().__init__(policy.unadapted() for _ in range(count))

    def begin_again(self, places: Sequence[int]) -> AdaptedEpisodes:
        """New episodes at some places."""
        for place in places:
            self[place] = self.policy.unadapted()
        return self


class AdaptingPolicy(nn.Module):
    """The policy of a soft actor-critic whose convolutions take a step of inverse dynamics before each action, in every
    episode on their own.

    Args:
        network: trained, on pictures.
        inverse: trained with it.
        lr: learning rate.
        crops: of the last transition, that a step learns from.
    """

    def __init__(self, network: SoftActorCritic, inverse: InverseDynamics, lr: float, crops: int) -> None:
        super().__init__()
        self.network, self.inverse, self.lr, self.crops = network, inverse, lr, crops

    def unadapted(self) -> Adapted:
        """What an episode begins with."""
        with torch.inference_mode(False):  # what was copied within it could not learn
            return Adapted(self.network.stem, self.inverse, self.lr)  # type: ignore[arg-type]

    def embedding(self, observation: Observation) -> Tensor:
        """Embedding of observations `[B, ...]`, before anything adapts."""
        return self.network.embedding(observation)

    def initial_state(self, count: int) -> AdaptedEpisodes:
        """What so many episodes begin with."""
        return AdaptedEpisodes(self, count)

    def act(
        self,
        observation: Observation,
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Adapt to what the last action led to, then act on observations `[B, ...]`; see `Policy`."""
        episodes = self.initial_state(len(observation["pixels"])) if state is None else state
        rng = torch.default_generator if generator is None else generator
        features = [
            self._features(episode, pixels[None], rng)
            for episode, pixels in zip(episodes, observation["pixels"], strict=True)
        ]
        with torch.inference_mode():
            step = self.network.choose(torch.cat(features), self.network.state(observation), deterministic, generator)
        for episode, pixels, action in zip(episodes, observation["pixels"], step.action, strict=True):
            with torch.inference_mode(False):
                episode.before = pixels[None].clone(), action[None].clone()
        return PolicyStep(step.action, episodes, step.log_prob)

    def _features(self, episode: Adapted, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """Features of pictures `[1, C, H, W]`, by convolutions that have learned from the last transition."""
        with torch.inference_mode(False), torch.enable_grad():
            pixels = pixels.clone()
            if episode.before is not None:
                self._adapt(episode, *episode.before, pixels, rng)
        with torch.inference_mode():
            features: Tensor = episode.stem(self.network.centred(pixels))
            return features

    def _adapt(self, episode: Adapted, before: Tensor, action: Tensor, after: Tensor, rng: torch.Generator) -> None:
        """A step on crops of a transition."""
        cropped = [random_crop(each.float().expand(self.crops, -1, -1, -1), rng) for each in (before, after)]
        first, second = (episode.stem(self.network.centred(each)) for each in cropped)
        loss = (episode.inverse(first, second) - action).square().sum(dim=-1).mean()
        episode.optimizer.zero_grad()
        loss.backward()
        episode.optimizer.step()

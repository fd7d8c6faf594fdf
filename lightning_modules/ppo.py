"""Proximal policy optimisation (Schulman et al. 2017; SURREAL-PPO, dissertation Section 2.3.2)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory, ReinforcementModule, in_full_precision
from lightning_modules.schedules import scale_learning_rates
from visagent.experience.rollouts import PREFIX, RolloutBatch
from visagent.networks.actor_critic import ActorCritic, Evaluation, RunningNormalizer
from visagent.networks.by_hand import ActorCriticByHand
from visagent.objectives.policy_gradient import (
    adapted_beta,
    clipped_slope,
    clipped_surrogate,
    discounted_so_far,
    generalized_advantages,
    penalized_slope,
    penalized_surrogate,
    standardized,
)
from visagent.seeding import generator

PARTS = ("policy_loss", "value_loss", "entropy", "kl", "update_kl")
REWARD_CLAMP = 10.0
"""Of normalised rewards, in standard deviations of the return."""
WEIGHT_CLAMP = 2.0
"""Of the weights of samples that an older policy made."""
MEASURED = 256
"""Samples whose losses are measured at once, at least."""


class PPO(ReinforcementModule):
    """PPO with a clipped objective, or with an adaptive penalty on the divergence from the policy that acted.

    SURREAL's penalty is on the divergence from the policy that was published last; with synchronous actors that is the same one.

    Args:
        network: makes policy and critic from the worlds' spaces.
        optimizer: makes the optimizer from parameter groups.
        variant: `clip` or `adaptive_kl`.
        gamma, lam: discount of a step, lambda of GAE.
        epochs, minibatch_size: passes over each batch, and samples of a step of the optimizer (with an LSTM: worlds times steps).
        clip: epsilon of the clipped objective.
        kl_target, kl_cutoff, beta, beta_range, beta_factor: of the penalty: its target (nats), eta, its first weight, that weight's range and factor.
        kl_stop: passes end when the mean divergence from the policy that learning from the batch began with exceeds this multiple of the target, however
            old the policy is that acted; None for never.
        publish_every: iterations after which the actors get the policy; with a z-filter, counted from its first batch, which is for the filter alone.
        value_weight, entropy_weight: of the critic's loss and the entropy.
        max_grad_norm: gradients are scaled down to it; None for never.
        standardize: advantages of each `batch`, of each `minibatch`, or `none`.
        schedule: of the learning rate over the run: `constant` or `linear` to `final_rate` of it.
        final_rate: see `schedule`.
        reward_scale: factor of the rewards that the learner sees.
        normalize_rewards: divide rewards by the running standard deviation of discounted returns, and clamp them at `REWARD_CLAMP` (as
            Stable-Baselines3's `VecNormalize` does), so that the critic learns numbers of order one whatever the task pays.
        seed: of the weights and the order of samples.
    """

    beta: Tensor
    divergences: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        variant: str,
        gamma: float,
        lam: float,
        epochs: int,
        minibatch_size: int,
        clip: float,
        kl_target: float,
        kl_cutoff: float,
        beta: float,
        beta_range: Sequence[float],
        beta_factor: float,
        kl_stop: float | None,
        publish_every: int,
        value_weight: float,
        entropy_weight: float,
        max_grad_norm: float | None,
        standardize: str,
        schedule: str,
        final_rate: float,
        reward_scale: float,
        normalize_rewards: bool,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, seed)
        self.variant, self.gamma, self.lam, self.epochs, self.minibatch_size = variant, gamma, lam, epochs, minibatch_size
        self.clip, self.kl_target, self.kl_cutoff, self.kl_stop = clip, kl_target, kl_cutoff, kl_stop
        self.beta_range, self.beta_factor, self.publish_every = tuple(beta_range), beta_factor, publish_every
        self.value_weight, self.entropy_weight, self.max_grad_norm, self.standardize = value_weight, entropy_weight, max_grad_norm, standardize
        self.schedule, self.final_rate, self.reward_scale = schedule, final_rate, reward_scale
        self.returns = RunningNormalizer(1) if normalize_rewards else None
        self.so_far: Tensor | None = None  # discounted returns of the episodes under way `[B]`; a resumed run begins new episodes
        self.register_buffer("beta", torch.tensor(float(beta)))
        self.register_buffer("divergences", torch.zeros(2))  # sum and number since the last publication

    def prepare(self) -> None:
        self.reference = copy.deepcopy(self.network).requires_grad_(False)

    def remedies(self) -> list[str]:
        rewards = [] if self.returns is not None else ["algorithm.normalize_rewards=true"]
        return rewards + (["algorithm.max_grad_norm=0.5"] if self.max_grad_norm is None else [])

    def acting_policy(self) -> ActorCritic:
        policy: ActorCritic = copy.deepcopy(self.reference).cpu().eval()
        return policy

    def published(self) -> tuple[dict[str, Tensor], int]:
        return self.reference.state_dict(), self._publications(int(self.iterations))

    def _publications(self, iterations: int) -> int:
        """How often the policy was published in so many iterations; with a z-filter the first time is that after its first batch."""
        if self.network.normalizer is None:
            return iterations // self.publish_every
        return 1 + (iterations - 1) // self.publish_every if iterations else 0

    @in_full_precision
    def training_step(self, batch: RolloutBatch, batch_index: int) -> None:
        iterations, reward = int(self.iterations), self._scaled(batch)
        version, following = self._publications(iterations), self._publications(iterations + 1)
        if not self.only_for_the_filter(batch.version):
            self._learn(batch, reward, stale=version > batch.version or self._publications(iterations - 1) == version)
        self.env_steps += batch.env_steps * self.trainer.world_size
        self.iterations += 1
        if self.network.normalizer is not None:
            self._take_in(self.network.normalizer, batch.observation["state"])
        if following > version:
            self._publish()
        self.log("train/beta", self.beta)
        self.report(batch.episodes, batch.timing, float(version - batch.version))

    def _learn(self, batch: RolloutBatch, reward: Tensor, stale: bool) -> None:
        """Learn from a batch, whose rewards the critic sees as `reward` `[T, B]`; `stale` as in `_passes`."""
        with torch.no_grad():
            advantage = generalized_advantages(
                reward, batch.value, batch.last_value, batch.final_value, batch.terminated, batch.truncated, self.gamma, self.lam
            )
            # Of these three numbers of a step, every rank knows those of all worlds.
            own = torch.stack([advantage, advantage + batch.value, batch.value])
            advantage, returns, value = torch.cat(self.of_all_ranks(own), dim=2)
        progress = float(self.env_steps) / self.total_steps
        if self.schedule == "linear":
            scale_learning_rates(self.optimizers().optimizer, 1.0 + (self.final_rate - 1.0) * progress)  # type: ignore[union-attr]
        self._passes(batch, advantage, returns, stale)
        spread = returns.var(unbiased=False)
        self.log("train/explained_variance", 1.0 - (returns - value).var(unbiased=False) / spread.clamp_min(1e-8))

    @torch.no_grad()
    def _scaled(self, batch: RolloutBatch) -> Tensor:
        """The rewards `[T, B]` that the critic learns."""
        reward = batch.reward * self.reward_scale
        if self.returns is None:
            return reward
        before = torch.zeros_like(batch.last_value) if self.so_far is None else self.so_far
        returns = discounted_so_far(reward, batch.first, before, self.gamma)
        self.so_far = returns[-1]
        self._take_in(self.returns, returns[..., None])
        return (reward * self.returns.scale).clamp_(-REWARD_CLAMP, REWARD_CLAMP)

    def _take_in(self, normalizer: RunningNormalizer, seen: Tensor) -> None:
        """Have a filter know what all ranks saw, `[..., D]` of each."""
        own = torch.cat([part.reshape(-1) for part in normalizer.statistics(seen)])
        for count, mean, spread in (part.split([1, (len(part) - 1) // 2, (len(part) - 1) // 2]) for part in self.of_all_ranks(own)):
            normalizer.merge(count[0], mean, spread)

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run."""
        return int(self.data.steps_per_batch * self.data.iterations_per_epoch * (self.trainer.max_epochs or 1))

    def _passes(self, batch: RolloutBatch, advantage: Tensor, returns: Tensor, stale: bool) -> None:
        """The passes over a batch.

        The order of samples is drawn for all ranks together, and of each minibatch a rank takes the samples of its own worlds: the number of ranks
        changes no more than the order of sums. With an LSTM a sample is a world's whole segment.

        Args:
            batch: of this rank's worlds.
            advantage, returns: `[T, B]` of all ranks' worlds.
            stale: the policy that acted is older than the one that learning begins with.
        """
        steps, worlds = batch.reward.shape
        mine = slice(self.global_rank * worlds, (self.global_rank + 1) * worlds)
        columns: dict[str, Tensor] = {"action": batch.action, "log_prob": batch.log_prob, "parameters": batch.parameters, "returns": returns[:, mine]}
        columns["advantage"] = (advantage if self.standardize == "none" else standardized(advantage))[:, mine]
        columns |= {f"{PREFIX}{name}": part for name, part in self.network.normalized(batch.observation).items()}  # the filter rests meanwhile
        place = torch.full(advantage.shape, -1)  # of a sample in this rank's own columns
        place[:, mine] = torch.arange(steps * worlds).view(steps, worlds)
        if self.network.recurrent:
            columns["first"] = batch.first
            place, size, axis = place[0], max(1, self.minibatch_size // steps), 1
        else:
            columns = {name: tensor.flatten(0, 1) for name, tensor in columns.items()}
            place, advantage, size, axis = place.flatten(), advantage.flatten(), self.minibatch_size, 0
        measured = columns
        if stale and (self.variant == "clip" or self.kl_stop is not None):
            began = self._decouple(columns, batch.state)
            measured = {**columns, "began": began}
        rng = generator(self.seed, "order", int(self.iterations))
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        parameters = list(self.network.parameters())
        by_hand = ActorCriticByHand(self.network) if ActorCriticByHand.serves(self.network) else None
        taken = 0
        for number in range(self.epochs):
            order = torch.randperm(len(place), generator=rng)
            owned = place[order] >= 0
            chosen, counts = place[order][owned].to(self.device), [int(part.sum()) for part in owned.split(size)]
            shuffled = {name: tensor.index_select(axis, chosen) for name, tensor in columns.items()}
            if self.standardize == "minibatch":
                parts = advantage.index_select(axis, order.to(self.device)).split(size, axis)
                drawn = torch.cat([standardized(part) for part in parts], axis)
                shuffled["advantage"] = drawn.index_select(axis, owned.nonzero()[:, 0].to(self.device))
            if "weight" in shuffled:
                shuffled["advantage"] = shuffled["advantage"] * shuffled.pop("weight")
            states = None if batch.state is None else tuple(tensor[chosen] for tensor in batch.state)
            for number_of_all, (part, state) in zip(map(len, owned.split(size)), minibatches(shuffled, states, axis, counts), strict=True):
                share = part["action"].shape[axis] / number_of_all
                if not share:
                    self._no_share(by_hand, optimizer, parameters)
                elif by_hand is not None:
                    self._step_by_hand(by_hand, optimizer, part, share)
                else:
                    self.descend(optimizer, self._loss(part, state, share)[0], parameters, share, self.max_grad_norm)
                self.network.keep_bounds()
                taken += 1
            if number == self.epochs - 1 or self.kl_stop is not None:
                found = self._measure(measured, batch.state, axis, max(size, MEASURED))
                if self.kl_stop is not None and found["update_kl"] > self.kl_stop * self.kl_target:
                    break
        self.divergences += torch.tensor([found["kl"], 1.0], device=self.device)
        self.log_dict({f"train/{name}": value for name, value in found.items()})
        self.log("train/optimizer_steps", float(taken))

    @torch.no_grad()
    def _decouple(self, columns: dict[str, Tensor], state: Any) -> Tensor:
        """Clip around the policy that learning begins with instead of an older one that acted; what this one did is weighed. Returns its parameters.

        The decoupled objective of Hilton et al. 2022 (Eq. 4). Clipped around the policy that acted, a batch that is one update old would stop
        learning where that update ended.
        """
        found = self._judged(columns, state)
        if self.variant == "clip":
            now = self.network.distribution.log_prob(found.parameters, columns["action"])
            columns["weight"] = (now - columns["log_prob"]).exp_().clamp_(max=WEIGHT_CLAMP)
            columns["log_prob"] = now
        return found.parameters

    @torch.no_grad()
    def _measure(self, columns: Mapping[str, Tensor], state: Any, axis: int, size: int) -> dict[str, float]:
        """The `PARTS` of the loss over a whole batch, with the policy as it is now."""
        count = columns["action"].shape[axis]
        total = torch.zeros(len(PARTS), device=self.device)
        counts = [min(size, count - start) for start in range(0, count, size)]
        for part, own in minibatches(columns, state, axis, counts):
            total += self._loss(part, own)[1] * (part["action"].shape[axis] / count)
        total = self.sum_over_ranks(total / self.trainer.world_size)
        return dict(zip(PARTS, total.tolist(), strict=True))

    def _judged(self, part: Mapping[str, Tensor], state: Any) -> Evaluation:
        observation = {name.removeprefix(PREFIX): tensor for name, tensor in part.items() if name.startswith(PREFIX)}
        found: Evaluation = self.network.judge(observation, state, part.get("first"))
        return found

    def _loss(self, part: Mapping[str, Tensor], state: Any, share: float | None = None) -> tuple[Tensor, Tensor]:
        """The loss of this rank's share in a minibatch, or without one of its samples alone, and its `PARTS`."""
        found = self._judged(part, state)
        distribution = self.network.distribution
        log_prob = distribution.log_prob(found.parameters, part["action"])
        divergence = distribution.divergence(part["parameters"], found.parameters).mean()
        if self.variant == "clip":
            policy = clipped_surrogate(log_prob, part["log_prob"], part["advantage"], self.clip)
        else:
            # All ranks' mean, with the gradient of this rank's.
            mean = divergence if share is None else divergence + (self._all_divergence(divergence, share) - divergence.detach())
            policy = penalized_surrogate(log_prob, part["log_prob"], part["advantage"], mean, self.beta, self.kl_cutoff, self.kl_target)
        value = 0.5 * (found.value - part["returns"]).square().mean()
        entropy = distribution.entropy(found.parameters).mean()
        loss = policy + self.value_weight * value - self.entropy_weight * entropy
        moved = distribution.divergence(part["began"], found.parameters).mean() if "began" in part else divergence
        return loss, torch.stack([policy.detach(), value.detach(), entropy.detach(), divergence.detach(), moved.detach()])

    def _all_divergence(self, own: Tensor, share: float) -> Tensor:
        """The mean divergence of a minibatch, given that of this rank's share in it."""
        return self.sum_over_ranks(own.detach() * share) if self.trainer.world_size > 1 else own.detach()

    def _no_share(self, by_hand: ActorCriticByHand | None, optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]) -> None:
        """The step with a minibatch that has no sample of this rank."""
        if self.variant == "adaptive_kl":
            self._all_divergence(torch.zeros((), device=self.device), 0.0)
        if by_hand is None:
            self.descend(optimizer, None, parameters, 0.0, self.max_grad_norm)
        else:
            by_hand.gradients.vector.zero_()
            self._descend_by_hand(by_hand, optimizer)

    @torch.no_grad()
    def _step_by_hand(self, by_hand: ActorCriticByHand, optimizer: torch.optim.Optimizer, part: Mapping[str, Tensor], share: float) -> None:
        """The step that `_loss` and autograd make, several times faster for small networks."""
        distribution, acted = self.network.distribution, part["parameters"]
        parameters, values = by_hand.forward(part[f"{PREFIX}state"])
        advantage = part["advantage"]
        log_prob, slope = distribution.log_prob_and_slope(parameters, part["action"])
        if self.variant == "clip":
            slope.mul_(clipped_slope(log_prob, part["log_prob"], advantage, self.clip)[:, None])
        else:
            divergence = distribution.divergence(acted, parameters)
            mean = self._all_divergence(divergence.mean(), share)
            weight, penalty = penalized_slope(log_prob, part["log_prob"], advantage, mean, self.beta, self.kl_cutoff, self.kl_target)
            slope.mul_(weight[:, None]).add_(distribution.divergence_slope(acted, parameters) * (penalty / len(divergence)))
        if self.entropy_weight:
            slope.sub_(distribution.entropy_slope(parameters), alpha=self.entropy_weight / len(log_prob))
        by_hand.backward(slope, (values - part["returns"]).mul_(self.value_weight / len(values)))
        if share < 1.0:
            by_hand.gradients.vector.mul_(share)
        self._descend_by_hand(by_hand, optimizer)

    def _descend_by_hand(self, by_hand: ActorCriticByHand, optimizer: torch.optim.Optimizer) -> None:
        self.sum_over_ranks(by_hand.gradients.vector)
        if self.max_grad_norm is not None:
            by_hand.gradients.clip(self.max_grad_norm)
        optimizer.step()

    def _publish(self) -> None:
        """The reference policy becomes the learner's; with it the penalty's weight may change."""
        if self.variant == "adaptive_kl" and self.divergences[1] > 0:  # something was learned since
            mean = float(self.divergences[0] / self.divergences[1])
            self.beta.fill_(adapted_beta(float(self.beta), mean, self.kl_target, self.beta_factor, *self.beta_range))
        self.divergences.zero_()
        self.reference.load_state_dict(self.network.state_dict())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())


def minibatches(columns: Mapping[str, Tensor], state: Any, axis: int, counts: Sequence[int]) -> Iterator[tuple[dict[str, Tensor], Any]]:
    """Parts of columns along an axis, so many samples each, in order, with those of a recurrent state `[B, ...]`."""
    start = 0
    for count in counts:
        part = {name: tensor.narrow(axis, start, count) for name, tensor in columns.items()}
        yield part, None if state is None else tuple(tensor.narrow(0, start, count) for tensor in state)
        start += count

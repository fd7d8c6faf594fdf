"""MAPPO over options that the agents choose asynchronously (Lyu et al. 2023; Yu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_modules.option_learner import OptionLearner
from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory
from lightning_modules.schedules import scale_learning_rates
from visagent.errors import ConfigError
from visagent.experience.options import SHOWN, OptionBatch
from visagent.networks.options import Chances, OptionActorCritic, Situation, shown
from visagent.networks.value_normalizer import ValueNormalizer
from visagent.objectives.options import clipped_value_loss, semi_markov_advantages
from visagent.seeding import generator

SPREAD_FLOOR = 1e-5
"""Of advantages that are standardised, as in MAPPO's code."""
MEASURED = ("policy_loss", "value_loss", "entropy", "kl")


@dataclass(frozen=True)
class Losses:
    """Of a minibatch.

    Attributes:
        policy, value: to be descended.
        measured: what `MEASURED` names.
        ratio_gap: the largest distance of a sample's ratio from 1.
    """

    policy: Tensor
    value: Tensor
    measured: Tensor
    ratio_gap: Tensor


class OptionMAPPO(OptionLearner):
    """PPO whose actions are the options of those agents that choose, given the options of the others (Eq. 4).

    Args:
        network: makes policy and critic, a `visagent.networks.options.OptionActorCritic`, from the worlds' spaces.
        optimizer: makes the optimizers of policy and critic from parameter groups.
        gamma: discount of a low-level step.
        lam: lambda of GAE.
        lam_by_duration: lambda counts low-level steps instead of option steps.
        rewards: `smdp`, all that is paid until the next decision, discounted by low-level steps; `paper_code`, as the released code has it: what the last
            low-level step pays, discounted by option steps.
        log_prob: `conditional` (Eq. 3), or `joint`: the update takes the joint option for chosen as a whole, as the released code does (biased).
        epochs, minibatches: passes over a batch, and parts of it in each.
        clip: of the policy's objective and of the critic's values.
        huber: where the critic's loss becomes linear.
        entropy_weight: of the entropy.
        entropy: `conditional`; `normalised` by its largest value; `joint`, of the whole joint distribution.
        max_grad_norm: of policy and critic, each for itself.
        schedule: of the learning rates over the run: `constant` or `linear` to `final_rate` of them.
        final_rate: see `schedule`.
        seed: of the weights and the order of samples.
    """

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        gamma: float,
        lam: float,
        lam_by_duration: bool,
        rewards: str,
        log_prob: str,
        epochs: int,
        minibatches: int,
        clip: float,
        huber: float,
        entropy_weight: float,
        entropy: str,
        max_grad_norm: float | None,
        schedule: str,
        final_rate: float,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, seed)
        self.gamma, self.lam, self.lam_by_duration, self.rewards, self.log_prob = gamma, lam, lam_by_duration, rewards, log_prob
        self.epochs, self.minibatches, self.clip, self.huber = epochs, minibatches, clip, huber
        self.entropy_weight, self.entropy, self.max_grad_norm = entropy_weight, entropy, max_grad_norm
        self.schedule, self.final_rate = schedule, final_rate
        self.returns = ValueNormalizer()

    def prepare(self) -> None:
        if not isinstance(self.network, OptionActorCritic):
            got = type(self.network).__name__
            raise ConfigError(f"network: algorithm=option_mappo expects a policy over options, got {got}; type network=options")
        if hasattr(self.data, "buffer"):
            raise ConfigError("datamodule: algorithm=option_mappo expects what its newest policy did, got whole episodes; type datamodule=options")

    def remedies(self) -> list[str]:
        return ["algorithm.max_grad_norm=10.0"] if self.max_grad_norm is None else []

    def training_step(self, batch: OptionBatch, batch_index: int) -> None:
        version, valid = int(self.iterations), batch.valid
        with torch.no_grad():
            value, last, final = (self.returns.denormalize(part) for part in (batch.value, batch.last_value, batch.final_value))
            whole = self.rewards == "smdp"
            reward, duration = (batch.reward, batch.duration) if whole else (batch.last_reward, torch.ones_like(batch.duration))
            advantage = semi_markov_advantages(
                reward, value, last, final, batch.terminated, batch.truncated, duration, valid, self.gamma, self.lam, self.lam_by_duration
            )
            target = advantage + value
            count, total, squares, target_total, target_squares = self._sums(valid, advantage, target)
            self.returns.update(target_total / count, target_squares / count)
            mean = total / count
            spread = (squares / count - mean.square()).clamp_min(0.0).sqrt()
            columns = {
                "advantage": ((advantage - mean) / (spread + SPREAD_FLOOR)).float(),
                "target": self.returns.normalize(target),
                "value": batch.value,
                "log_prob": batch.log_prob,
                **{name: getattr(batch, name) for name in SHOWN},
            }
        if self.schedule == "linear":
            progress = version / (self.data.iterations_per_epoch * (self.trainer.max_epochs or 1))
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                scale_learning_rates(optimizer.optimizer, 1.0 + (self.final_rate - 1.0) * progress)
        self._passes({name: part[valid] for name, part in columns.items()}, valid, batch.choosing.sum(dim=-1))
        self.env_steps += int(self.sum_over_ranks(batch.duration.sum()))
        self.iterations += 1
        self._report(batch, valid, version)

    def _sums(self, valid: Tensor, *parts: Tensor) -> list[Tensor]:
        """Of all ranks: number of the valid elements of a part `[K, B, V]`, then their sum and that of their squares, for each part."""
        chosen = [part[valid].double() for part in parts]
        sums = [torch.tensor(float(chosen[0].numel()), dtype=torch.float64, device=self.device)]
        for part in chosen:
            sums += [part.sum(), part.square().sum()]
        return list(self.sum_over_ranks(torch.stack(sums)))

    def _passes(self, columns: dict[str, Tensor], valid: Tensor, choosers: Tensor) -> None:
        """The passes over a batch's decisions; their order is drawn for those of all ranks together.

        Args:
            columns: `[R, ...]`, of the decisions of this rank.
            valid: `[K, B]`, its places that hold one.
            choosers: `[K, B]`, how many agents chose.
        """
        everyone = torch.cat(self.of_all_ranks(valid * choosers), dim=1)
        worlds = valid.shape[1]
        mine = torch.zeros_like(everyone, dtype=torch.bool)
        mine[:, self.global_rank * worlds : (self.global_rank + 1) * worlds] = True
        owned = mine[everyone > 0].cpu()  # of all ranks' decisions in their order, those of this one
        choices = everyone[everyone > 0].cpu()
        place = owned.cumsum(dim=0) - 1  # of an owned one in the columns
        rng = generator(self.seed, "order", int(self.iterations))
        actor, critic = (optimizer.optimizer for optimizer in self.optimizers())  # type: ignore[union-attr]
        policy_parameters, critic_parameters = list(self.network.policy.parameters()), list(self.network.critics.parameters())
        measured, gaps = [], []
        for _ in range(self.epochs):
            whole = self.minibatches == 1
            order = torch.arange(len(owned)) if whole else torch.randperm(len(owned), generator=rng)
            for drawn in order.tensor_split(self.minibatches):
                of_mine = owned[drawn]
                own, losses = place[drawn[of_mine]], None
                if len(own):
                    shares = (len(own) / len(drawn), float(choices[drawn[of_mine]].sum() / choices[drawn].sum()))
                    losses = self._losses(columns if whole else {name: column[own.to(self.device)] for name, column in columns.items()}, *shares)
                    gaps.append(losses.ratio_gap)
                measured.append(losses.measured if losses else torch.zeros(len(MEASURED), device=self.device))
                self.descend(actor, losses.policy if losses else None, policy_parameters, 1.0, self.max_grad_norm)
                self.descend(critic, losses.value if losses else None, critic_parameters, 1.0, self.max_grad_norm)
        means = self.sum_over_ranks(torch.stack(measured).mean(dim=0))
        self.log_dict({f"train/{name}": value for name, value in zip(MEASURED, means, strict=True)})
        gap = gaps[0] if gaps else torch.zeros((), device=self.device)
        self.log("train/first_ratio_gap", gap, sync_dist=self.trainer.world_size > 1, reduce_fx="max")

    def _losses(self, part: dict[str, Tensor], of_decisions: float, of_choices: float) -> Losses:
        """This rank's parts of the means over a minibatch.

        Args:
            part: columns `[R, ...]`.
            of_decisions, of_choices: its share in the decisions, and in the agents that choose in them.
        """
        situation = Situation(*(part[name] for name in SHOWN))
        now: Chances = self.network.chances(self._as_a_whole(situation) if self.log_prob == "joint" else situation)
        spread = self.network.chances(self._as_a_whole(situation)) if self.entropy == "joint" else now
        ratio = (now.log_prob - part["log_prob"]).exp()
        advantage = part["advantage"]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
        counted = now.counted.to(ratio.dtype)
        whole = self.network.parts == 1 or self.log_prob == "joint"  # a decision counts as one, or as all agents' choices
        share = of_decisions if whole else of_choices
        spread_share = of_decisions if whole or self.entropy == "joint" else of_choices
        policy = -(surrogate * counted).sum() / counted.sum() * share
        entropy = spread.entropy
        if self.entropy == "normalised":
            entropy = torch.where(spread.log_count > 0, entropy / spread.log_count.clamp_min(1e-6), 0.0)
        entropy = (entropy * spread.counted.to(ratio.dtype)).sum() / spread.counted.sum() * spread_share
        value = clipped_value_loss(self.network.values(situation), part["value"], part["target"], self.clip, self.huber).mean() * of_decisions
        with torch.no_grad():
            apart = ((ratio - 1 - (now.log_prob - part["log_prob"])) * counted).sum() / counted.sum() * share
            gap = ((ratio - 1).abs() * counted).max()
        return Losses(policy - self.entropy_weight * entropy, value, torch.stack([policy, value, entropy, apart]).detach(), gap)

    def _as_a_whole(self, situation: Situation) -> Situation:
        """As if all agents chose; what runs may not be on offer any more, and still was chosen once."""
        running = shown(situation.options, ~situation.choosing, self.network.spaces.sizes)[0].bool()
        return replace(situation, choosing=torch.ones_like(situation.choosing), available=situation.available | running)

    def _report(self, batch: OptionBatch, valid: Tensor, version: int) -> None:
        choosers = batch.choosing.sum(dim=-1)[valid]
        agents = range(1, batch.choosing.shape[-1] + 1)
        sums = [batch.length.sum(), batch.duration.sum(), batch.last_reward[valid].sum(), batch.total_reward.sum(), *((choosers == n).sum() for n in agents)]
        decisions, steps, last, total, *by_number = self.sum_over_ranks(torch.stack([part.float() for part in sums]))
        self.log_dict(
            {
                "data/decisions": decisions,
                "data/duration": steps / decisions,
                "data/paper_metric": last / decisions,
                "data/reward_per_step": total / steps,
                **{f"data/choosing_{n}": number / decisions for n, number in zip(agents, by_number, strict=True)},
            }
        )
        self.report(batch.episodes, batch.timing, float(version - batch.version))

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self._evaluate(batch, "val")
        if batch.deterministic:
            self._evaluate(replace(batch, deterministic=False), "val/sampled")

    def test_step(self, batch: Any, batch_index: int) -> None:
        super().test_step(batch, batch_index)
        if batch.deterministic:
            self._evaluate(replace(batch, deterministic=False), "test/sampled")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.make_optimizer(self.network.policy.parameters()), self.make_optimizer(self.network.critics.parameters())]

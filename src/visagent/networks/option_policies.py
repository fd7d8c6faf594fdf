"""Policies over options of several agents, of whom some choose while the others' options go on (Lyu et al. 2023,
Section III).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from visagent.envs.option_worlds import OptionSpaces
from visagent.errors import ConfigError
from visagent.networks.conditional import (
    conditional_log_probs,
    joint_index,
    joint_slice,
    masked_entropy,
    open_options,
    separate,
)
from visagent.networks.distributions import sample_categorical
from visagent.networks.mlp import mlp, orthogonal_linear


@dataclass(frozen=True)
class Situation:
    """Where N decisions are made.

    Attributes:
        observation: `[N, D]`, of all agents, one after the other.
        options: `[N, n]`, of agents that do not choose, the running ones; of the others, what they chose, or anything.
        choosing: `[N, n]` bool, Z; of every row at least one.
        available: `[N, m_1 + ... + m_n]` bool.
        state: `[N, S]`, of the world, for a critic; None where none is asked.
        taken: `[N, n]`, options that each agent has chosen before in its episode; None where nobody needs them.
        memory: `[N, S]` of a policy that remembers earlier decisions of its episode, zeros in the beginning; None of
            others.
    """

    observation: Tensor
    options: Tensor
    choosing: Tensor
    available: Tensor
    state: Tensor | None = None
    taken: Tensor | None = None
    memory: Tensor | None = None

    def as_a_whole(self, sizes: Sequence[int]) -> Situation:
        """The situation as if all agents chose; an option that runs may not be on offer any more, and was chosen once
        all the same.

        Args:
            sizes: numbers of options, m_1 to m_n.
        """
        running = one_hot_options(self.options, ~self.choosing, sizes)[0].bool()
        return replace(self, choosing=torch.ones_like(self.choosing), available=self.available | running)


@dataclass(frozen=True)
class OptionChoice:
    """What a policy chooses in N situations.

    Attributes:
        options: joint options `[N, n]`, those that run unchanged.
        log_prob: `[N, P]`.
        memory: `[N, S]` for the next decision, or None.
    """

    options: Tensor
    log_prob: Tensor
    memory: Tensor | None = None


@dataclass(frozen=True)
class OptionEvaluation:
    """Evaluation of choices in N situations, for each of P separate choices.

    Attributes:
        log_prob: `[N, P]`, 0 where there was nothing to choose.
        entropy: `[N, P]`, nats.
        log_count: `[N, P]`, logarithm of the number of possibilities: the largest entropy.
        counted: `[N, P]` bool, whether there was something to choose.
    """

    log_prob: Tensor
    entropy: Tensor
    log_count: Tensor
    counted: Tensor


def layers(inputs: int, hidden: Sequence[int], outputs: int, last: float) -> nn.Sequential:
    """MAPPO's network (Yu et al. 2022): a normalised input, after each hidden layer ReLU and normalisation; orthogonal
    weights, `last` the output's gain.
    """
    inner = mlp(inputs, hidden, None, "relu", norm="after", linear=orthogonal_linear)
    return nn.Sequential(nn.LayerNorm(inputs), *inner, orthogonal_linear([inputs, *hidden][-1], outputs, last))


def choose(log_probs: Tensor, deterministic: bool, generator: torch.Generator | None) -> Tensor:
    """Places `[N]` drawn from distributions `[N, M]`, or their modes."""
    return log_probs.argmax(dim=-1) if deterministic else sample_categorical(log_probs, generator)


class JointPolicy(nn.Module):
    """One categorical over all joint options, sliced by the running ones (Eq. 2 and 3).

    Args:
        spaces: of the world.
        hidden: widths of the hidden layers.
    """

    parts = 1

    def __init__(self, spaces: OptionSpaces, hidden: Sequence[int]) -> None:
        super().__init__()
        self.sizes = spaces.sizes
        count = 1
        for size in self.sizes:
            count *= size
        self.network = layers(sum(spaces.observations), hidden, count, 0.01)

    def logits(self, observation: Tensor) -> Tensor:
        """`[N, M]`."""
        logits: Tensor = self.network(observation)
        return logits

    def log_probs(self, situation: Situation) -> Tensor:
        """Log-probabilities `[N, M]` of all joint options, -inf for those that the running ones exclude."""
        allowed = joint_slice(situation.options, situation.choosing, situation.available, self.sizes)
        return conditional_log_probs(self.logits(situation.observation), allowed)

    def evaluate_options(self, situation: Situation) -> OptionEvaluation:
        """Evaluate `situation.options`."""
        log_probs = self.log_probs(situation)
        log_prob = log_probs.gather(1, joint_index(situation.options, self.sizes)[:, None])
        log_count = (log_probs > -torch.inf).sum(dim=1, keepdim=True).to(log_probs.dtype).log()
        return OptionEvaluation(
            log_prob, masked_entropy(log_probs)[:, None], log_count, torch.ones_like(log_prob, dtype=torch.bool)
        )

    def choose(
        self, situation: Situation, deterministic: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Joint options `[N, n]`, those that run unchanged, and their log-probabilities `[N, 1]`."""
        log_probs = self.log_probs(situation)
        index = choose(log_probs, deterministic, generator)
        return separate(index, self.sizes), log_probs.gather(1, index[:, None])


class FactorisedPolicy(JointPolicy):
    """Joint logits that are sums of one number for each agent's option: what runs has no influence on what is chosen;
    for comparison.

    Args:
        spaces: of the world.
        hidden: widths of the hidden layers.
    """

    def __init__(self, spaces: OptionSpaces, hidden: Sequence[int]) -> None:
        super().__init__(spaces, hidden)
        self.network = layers(sum(spaces.observations), hidden, sum(self.sizes), 0.01)

    def logits(self, observation: Tensor) -> Tensor:
        total = torch.zeros((observation.shape[0], 1), device=observation.device, dtype=observation.dtype)
        for part in self.network(observation).split(list(self.sizes), dim=-1):
            total = (total[:, :, None] + part[:, None, :]).flatten(1)
        return total


class AutoregressivePolicy(nn.Module):
    """Agents choose one after the other, each knowing what runs and what was chosen before it: sum m_i outputs instead
    of their product.

    These are not the conditionals of one joint distribution.

    Args:
        spaces: of the world.
        hidden: widths of the hidden layers.
    """

    parts = 1

    def __init__(self, spaces: OptionSpaces, hidden: Sequence[int]) -> None:
        super().__init__()
        self.sizes = spaces.sizes
        inputs = sum(spaces.observations) + sum(self.sizes) + len(self.sizes)
        self.heads = nn.ModuleList(layers(inputs, hidden, size, 0.01) for size in self.sizes)

    def _walk(self, situation: Situation, pick: Callable[[int, Tensor], Tensor]) -> tuple[Tensor, OptionEvaluation]:
        options, known = situation.options, ~situation.choosing
        log_prob, entropy, log_count = [], [], []
        for agent, offered in enumerate(
            open_options(situation.options, situation.choosing, situation.available, self.sizes)
        ):
            inputs = torch.cat([situation.observation, *one_hot_options(options, known, self.sizes)], dim=-1)
            # of who does not choose: the running one, for certain
            log_probs = conditional_log_probs(self.heads[agent](inputs), offered)
            picked = pick(agent, log_probs)
            options = torch.cat([options[:, :agent], picked[:, None], options[:, agent + 1 :]], dim=1)
            log_prob.append(log_probs.gather(1, picked[:, None])[:, 0])
            entropy.append(masked_entropy(log_probs))
            log_count.append(offered.sum(dim=1).to(log_probs.dtype).log())
            known = torch.cat([torch.ones_like(known[:, : agent + 1]), known[:, agent + 1 :]], dim=1)
        total, entropies, counts = (
            torch.stack(part, dim=1).sum(dim=1, keepdim=True) for part in (log_prob, entropy, log_count)
        )
        return options, OptionEvaluation(total, entropies, counts, torch.ones_like(total, dtype=torch.bool))

    def evaluate_options(self, situation: Situation) -> OptionEvaluation:
        """Evaluate `situation.options`; the entropy is the sum of those of each choice after the ones before it."""
        return self._walk(situation, lambda agent, _: situation.options[:, agent])[1]

    def choose(
        self, situation: Situation, deterministic: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Like `JointPolicy.choose`; deterministic is the best choice of each agent after those before it."""
        options, evaluation = self._walk(situation, lambda _, log_probs: choose(log_probs, deterministic, generator))
        return options, evaluation.log_prob


class PartialPolicy(nn.Module):
    """Every agent has a policy of its own that sees its own observation and the options that the others go on with (Eq.
    5).

    Args:
        spaces: of the world.
        hidden: widths of the hidden layers.
    """

    def __init__(self, spaces: OptionSpaces, hidden: Sequence[int]) -> None:
        super().__init__()
        self.spaces, self.parts = spaces, len(spaces.sizes)
        self.heads = nn.ModuleList(
            layers(width, hidden, size, 0.01) for width, size in zip(local_widths(spaces), spaces.sizes, strict=True)
        )

    def _log_probs(self, situation: Situation) -> list[Tensor]:
        offered = open_options(situation.options, situation.choosing, situation.available, self.spaces.sizes)
        views = local_views(situation, self.spaces)
        return [
            conditional_log_probs(head(view), part) for head, view, part in zip(self.heads, views, offered, strict=True)
        ]

    def evaluate_options(self, situation: Situation) -> OptionEvaluation:
        """Evaluate `situation.options`, each agent's by itself; who does not choose has one possibility, and counts for
        nothing.
        """
        log_probs = self._log_probs(situation)
        log_prob = torch.cat(
            [part.gather(1, situation.options[:, agent, None]) for agent, part in enumerate(log_probs)], dim=1
        )
        entropy = torch.stack([masked_entropy(part) for part in log_probs], dim=1)
        log_count = torch.stack([(part > -torch.inf).sum(dim=1).to(part.dtype).log() for part in log_probs], dim=1)
        return OptionEvaluation(log_prob, entropy, log_count, situation.choosing)

    def choose(
        self, situation: Situation, deterministic: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Joint options `[N, n]`, those that run unchanged, and each agent's log-probability `[N, n]`."""
        log_probs = self._log_probs(situation)
        chosen = torch.stack([choose(part, deterministic, generator) for part in log_probs], dim=1)
        return chosen, torch.cat(
            [part.gather(1, chosen[:, agent, None]) for agent, part in enumerate(log_probs)], dim=1
        )


def one_hot_options(options: Tensor, known: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Options `[N, n]` as one-hot vectors, zeros where they are not `known` `[N, n]`, with the flags of what is known:
    `[N, sum m_i]`, `[N, n]`.
    """
    flags = known.to(torch.get_default_dtype())
    vectors = [
        torch.nn.functional.one_hot(options[:, agent], size).to(flags.dtype) * flags[:, agent, None]
        for agent, size in enumerate(sizes)
    ]
    return [torch.cat(vectors, dim=-1), flags]


def local_widths(spaces: OptionSpaces) -> list[int]:
    """Numbers of each agent's `local_views`."""
    return [seen + sum(spaces.sizes) + len(spaces.sizes) for seen in spaces.observations]


def local_views(situation: Situation, spaces: OptionSpaces) -> list[Tensor]:
    """What each agent sees itself, with the running options (zeros of those who choose)."""
    running = torch.cat(one_hot_options(situation.options, ~situation.choosing, spaces.sizes), dim=-1)
    return [torch.cat([own, running], dim=-1) for own in situation.observation.split(list(spaces.observations), dim=-1)]


COUPLINGS: dict[str, type[nn.Module]] = {
    "joint": JointPolicy,
    "factorised": FactorisedPolicy,
    "autoregressive": AutoregressivePolicy,
    "partial": PartialPolicy,
}


class OptionActorCritic(nn.Module):
    """A policy over options, and its critic.

    Args:
        spaces: of the world.
        coupling: of the agents' choices: `joint`, `partial`, `factorised` or `autoregressive`.
        hidden, critic_hidden: widths of the hidden layers.
        critic: sees `observations` of all agents, `observations_and_options` also the running options, `state` also
            what of the world's state no agent sees, or is `local`: one for each agent, that sees what its `partial`
            policy does.
    """

    def __init__(
        self, spaces: OptionSpaces, coupling: str, hidden: Sequence[int], critic_hidden: Sequence[int], critic: str
    ) -> None:
        super().__init__()
        self.spaces, self.critic = spaces, critic
        self.policy: Any = COUPLINGS[coupling](spaces, hidden)
        every = sum(spaces.observations)
        wider = every + sum(spaces.sizes) + len(spaces.sizes)
        if critic == "state" and not spaces.state:
            raise ConfigError(
                "network.critic=state: this world shows no state of its own; expected observations, "
                "observations_and_options or local"
            )
        widths = {
            "observations": [every],
            "observations_and_options": [wider],
            "state": [wider + spaces.state],
            "local": local_widths(spaces),
        }[critic]
        self.critics = nn.ModuleList(layers(width, critic_hidden, 1, 1.0) for width in widths)

    memory_size = 0

    @property
    def parts(self) -> int:
        """P, separate choices of a decision."""
        return int(self.policy.parts)

    @property
    def values_count(self) -> int:
        """V, numbers that the critic says."""
        return len(self.critics)

    def values(self, situation: Situation) -> Tensor:
        """V(O), `[N, 1]`, or `[N, n]` of `local` critics."""
        if self.critic == "local":
            views = local_views(situation, self.spaces)
        elif self.critic == "observations":
            views = [situation.observation]
        else:
            seen = [situation.observation, *one_hot_options(situation.options, ~situation.choosing, self.spaces.sizes)]
            if self.critic == "state":
                assert situation.state is not None
                seen.append(situation.state)
            views = [torch.cat(seen, dim=-1)]
        return torch.cat([critic(view) for critic, view in zip(self.critics, views, strict=True)], dim=-1)

    def evaluate_options(self, situation: Situation) -> OptionEvaluation:
        """Evaluate `situation.options`."""
        evaluation: OptionEvaluation = self.policy.evaluate_options(situation)
        return evaluation

    @torch.inference_mode()
    def choose(
        self, situation: Situation, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> OptionChoice:
        """Joint options, drawn or the most probable ones."""
        return OptionChoice(*self.policy.choose(situation, deterministic, generator))

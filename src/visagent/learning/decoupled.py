"""Learning from what an older policy did."""

from __future__ import annotations

from dataclasses import replace

import torch

from visagent.experience.rollouts import PolicySamples
from visagent.networks.actor_critic import ActorCritic

WEIGHT_CLAMP = 2.0
"""Of the weights of samples that an older policy made."""


@torch.no_grad()
def decoupled(samples: PolicySamples, network: ActorCritic, clips: bool) -> PolicySamples:
    """Samples whose objective is clipped around the policy that learning begins with; what an older one did is weighed.

    The decoupled objective of Hilton et al. 2022 (Eq. 4). Clipped around the policy that acted, a batch that is one
    update old would stop learning where that update ended.

    Args:
        samples: that an older policy made.
        network: the policy that learning begins with, which is kept as `began`.
        clips: whether the objective is a clipped one; else it is left alone.
    """
    now = network.evaluate(samples.observation, samples.state, samples.first).parameters
    if not clips:
        return replace(samples, began=now)
    log_prob = network.distribution.log_prob(now, samples.action)
    weight = (log_prob - samples.log_prob).exp_().clamp_(max=WEIGHT_CLAMP)
    return replace(samples, began=now, log_prob=log_prob, weight=weight)

"""Deep deterministic policy gradient (Lillicrap et al. 2016; SURREAL-DDPG, dissertation Section 2.3.3) with TD3's
options (Fujimoto et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor


def n_step_target(rewards: Tensor, steps: Tensor, terminated: Tensor, following: Tensor, gamma: float) -> Tensor:
    """r_0 + gamma r_1 + ... + gamma^k Q(s_k), the last term only where the episode goes on.

    Args:
        rewards: `[N, n]`, 0 from the k-th on.
        steps: `[N]` k.
        terminated: `[N]` bool.
        following: `[N]` Q of the observation after k steps and the target policy's action there.
        gamma: discount of a step.
    """
    powers = gamma ** torch.arange(rewards.shape[-1], device=rewards.device, dtype=rewards.dtype)
    rest = torch.where(terminated, torch.zeros_like(following), gamma ** steps.to(rewards.dtype) * following)
    return rewards @ powers + rest


def smoothed(action: Tensor, noise: Tensor, clip: float) -> Tensor:
    """The target policy's action `[N, A]` with noise `[N, A]` cut at `clip`, in [-1, 1] (Fujimoto et al. 2018, Eq.
    14).
    """
    return (action + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)

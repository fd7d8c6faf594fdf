"""Whose method a run uses, by its module."""

from __future__ import annotations

NAVIGATION = "Zheng and Guo: Indoor Target-driven Visual Navigation Using Imitation Learning"
DAGGER = (
    "Ross, Gordon, Bagnell: A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning. "
    "AISTATS 2011"
)
SURREAL = (
    "Fan et al.: SURREAL: Open-Source Reinforcement Learning Framework and Robot Manipulation Benchmark. CoRL 2018"
)
SECANT = "Fan et al.: SECANT: Self-Expert Cloning for Zero-Shot Generalization of Visual Policies. ICML 2021"
SAC = (
    "Haarnoja et al.: Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement Learning with a Stochastic "
    "Actor. ICML 2018"
)
PAD = "Hansen et al.: Self-Supervised Policy Adaptation during Deployment. ICLR 2021"
OPTIONS = (
    "Lyu et al.: Asynchronous, Option-Based Multi-Agent Policy Gradient: A Conditional Reasoning Approach. IROS 2023"
)
SOURCES = {
    "action_recognition.ActionRecognition": (
        "Fan et al.: RubiksNet: Learnable 3D-Shift for Efficient Video Action Recognition. ECCV 2020",
    ),
    "behaviour_cloning.BehaviourCloning": (NAVIGATION,),
    "dagger.DAgger": (NAVIGATION, DAGGER),
    "ddpg.DDPG": (
        "Lillicrap et al.: Continuous Control with Deep Reinforcement Learning. ICLR 2016",
        SURREAL,
    ),
    "evolution.EvolutionStrategies": (
        "Salimans et al.: Evolution Strategies as a Scalable Alternative to Reinforcement Learning. arXiv 1703.03864",
        SURREAL,
    ),
    "inverse_dynamics.InverseDynamicsSAC": (PAD, SAC),
    "network_randomization.NetworkRandomization": (
        "Lee et al.: Network Randomization: A Simple Technique for Generalization in Deep Reinforcement Learning. "
        "ICLR 2020",
        SAC,
    ),
    "option_mappo.OptionMAPPO": (OPTIONS,),
    "parallel_cloning.ParallelCloning": (SECANT,),
    "policy_adaptation.PolicyAdaptation": (PAD,),
    "ppo.PPO": ("Schulman et al.: Proximal Policy Optimization Algorithms. arXiv 1707.06347, 2017", SURREAL),
    "sac.SAC": (SAC,),
    "safe_dagger.SafeDAgger": (
        NAVIGATION,
        "Zhang and Cho: Query-Efficient Imitation Learning for End-to-End Autonomous Driving. arXiv 1605.06450, 2017",
    ),
    "self_expert_cloning.SelfExpertCloning": (SECANT, DAGGER),
}


def sources_of(target: str) -> tuple[str, ...]:
    """References of a module's method; none where it has none of its own.

    Args:
        target: `lightning_modules.ppo.PPO` and the like.
    """
    return SOURCES.get(target.removeprefix("lightning_modules."), ())

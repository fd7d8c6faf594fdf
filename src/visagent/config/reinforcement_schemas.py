"""Typed schemas of reinforcement learning: algorithms, networks, and how actors reach worlds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from visagent.config.registry import Fit, registered
from visagent.config.settings import MOST_PROCESSES, PROCESSES, Settings, require, setting
from visagent.config.trained_weights import TrainedWeights


@dataclass
class LearnerSettings(Settings):
    """What all methods of reinforcement learning are told."""

    seed: int = setting("seed of the weights, and of what the method draws", default="${seed}")


@dataclass
class ScheduledSettings(LearnerSettings):
    """Settings of methods whose learning rate follows a schedule over the run."""

    schedule: str = setting("schedule of the learning rate over the run", among=("constant", "linear"))
    final_rate: float = setting(
        "share of the learning rate at which a linear schedule ends", least=0, most=1, example=0.1
    )


NO_CLONING = {
    "_target_": "visagent.learning.cloning.Cloning",
    "demonstrations": None,
    "episodes": None,
    "epochs": 10,
    "batch_size": 256,
    "lr": 0.001,
}


@dataclass
class CloningConfig:
    """Demonstrations that are imitated first; see `visagent.learning.cloning.Cloning`."""

    _target_: str = "visagent.learning.cloning.Cloning"
    demonstrations: str | None = setting("Minari's name of a data set, or a data set's folder; null: none is imitated")
    episodes: int | None = setting("episodes of it; null: all", least=1)
    epochs: int = setting("passes over their steps", least=1)
    batch_size: int = setting("steps of an update", least=1)
    lr: float = setting("learning rate of Adam", above=0, example=0.001)


@registered("algorithm", "ppo", Fit(("actor_critic",), ("rollouts",)))
@dataclass
class PPOSettings(ScheduledSettings):
    """Proximal policy optimisation; see `lightning_modules.ppo.PPO`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.ppo.PPO"
    variant: str = setting(
        "the clipped objective, or SURREAL's adaptive penalty on the divergence", among=("clip", "adaptive_kl")
    )
    gamma: float = setting("discount of a step", symbol="gamma", least=0, most=1, example=0.99)
    lam: float = setting("decay of GAE", symbol="lambda", least=0, most=1, example=0.95)
    passes: int = setting("passes over each batch", symbol="K", least=1, formerly="epochs")
    minibatch_size: int = setting(
        "samples of a step of the optimizer; with an LSTM, worlds times steps", symbol="M", least=1
    )
    clip: float = setting("how far the ratio of the clipped objective counts", symbol="epsilon", above=0, example=0.2)
    kl_target: float = setting(
        "target of the mean divergence, nats; of adaptive_kl and kl_stop", symbol="d_targ", above=0, example=0.015
    )
    kl_cutoff: float = setting("weight of the squared excess over twice the target, of adaptive_kl", symbol="eta")
    beta: float = setting("first weight of the penalty, of adaptive_kl", symbol="beta")
    beta_range: list[float] = setting("range of the penalty's weight")
    beta_factor: float = setting("factor by which the penalty's weight changes", above=1, example=1.5)
    kl_stop: float | None = setting(
        "multiple of kl_target at which passes end, of the mean divergence from the policy that learning from the "
        "batch began with; null: never"
    )
    publish_every: int = setting(
        "iterations after which actors get the policy; with a z-filter, counted from its first batch, which is for "
        "the filter alone",
        least=1,
    )
    value_weight: float = setting("weight of the critic's loss, half the squared error", symbol="c_1")
    entropy_weight: float = setting("weight of the entropy", symbol="c_2")
    max_grad_norm: float | None = setting("norm that gradients are scaled down to; null: never")
    standardize: str = setting("over what advantages are standardised", among=("none", "batch", "minibatch"))
    reward_scale: float = setting("factor of the rewards that the learner sees")
    normalize_rewards: bool = setting(
        "divide rewards by the running standard deviation of discounted returns", as_before=False, signed=True
    )
    cloning: CloningConfig = setting(
        "demonstrations that are imitated before anything is collected", as_before=NO_CLONING, nested=CloningConfig
    )

    def check(self) -> None:
        ordered = len(self.beta_range) == 2 and 0 < self.beta_range[0] <= self.beta <= self.beta_range[1]
        require(
            ordered, "algorithm.beta_range", list(self.beta_range), f"[LOW,HIGH] around algorithm.beta, {self.beta}"
        )


@registered("network", "actor_critic")
@dataclass
class ActorCriticConfig(TrainedWeights):
    """Policy and critic; see `visagent.networks.actor_critic.ActorCritic`."""

    _target_: str = "visagent.networks.actor_critic.ActorCritic"
    _partial_: bool = True
    actor_hidden: list[int] = setting(
        "widths of the policy's hidden layers", least=1, expected="widths of layers, such as [64,64]"
    )
    critic_hidden: list[int] = setting(
        "widths of the critic's hidden layers", least=1, expected="widths of layers, such as [64,64]"
    )
    activation: str = setting("activation of the hidden layers", among=("tanh", "relu"))
    squash_mean: bool = setting(
        "whether the mean of a continuous action goes through tanh (dissertation Section 2.5.1)"
    )
    init_log_std: float = setting("logarithm of the standard deviation that learning begins with")
    normalize: bool = setting("whether states go through a z-filter")
    pixel_features: int = setting("units after the convolutions, where there are pixels", least=1)
    lstm: int = setting("units of an LSTM after the stem; 0: none", least=0, expected="at least 0 units")
    orthogonal_init: bool = setting("orthogonal weights in the beginning, instead of PyTorch's own")
    min_log_std: float | None = setting(
        "what the logarithm of the standard deviation does not fall below; null: no bound", as_before=None
    )
    max_log_std: float | None = setting("what it does not rise above; null: no bound", as_before=None)
    distribution: str = setting(
        "of continuous actions: normal, or tanh of normal, whose actions keep to their bounds",
        among=("gaussian", "squashed_gaussian"),
        as_before="gaussian",
    )

    def check(self) -> None:
        first, bounds = self.init_log_std, {"min": self.min_log_std, "max": self.max_log_std}
        for side, bound in bounds.items():
            possible = bound is None or (bound <= first if side == "min" else bound >= first)
            expected = f"null, or at {'most' if side == 'min' else 'least'} network.init_log_std, {first}"
            require(possible, f"network.{side}_log_std", bound, expected)


@registered("algorithm", "evolution", Fit(("evolved",), ("perturbations",)))
@dataclass
class EvolutionStrategiesSettings(LearnerSettings):
    """Evolution strategies; see `lightning_modules.evolution.EvolutionStrategies`."""

    _target_: str = "lightning_modules.evolution.EvolutionStrategies"
    shaping: str = setting("what is learned of returns: their centred ranks, or themselves", among=("ranks", "none"))


@registered("network", "evolved")
@dataclass
class EvolvedPolicyConfig(TrainedWeights):
    """A policy whose weights are one vector; see `visagent.networks.evolved.EvolvedPolicy`."""

    _target_: str = "visagent.networks.evolved.EvolvedPolicy"
    _partial_: bool = True
    hidden: list[int] = setting("widths of the hidden layers", least=1, expected="widths of layers, such as [64,64]")
    bins: int = setting("values that each component of a continuous action can take; 0: any")
    action_noise: float = setting(
        "standard deviation added to continuous actions unless they are deterministic", least=0, example=0.01
    )
    normalize: bool = setting("whether states go through a z-filter")

    def check(self) -> None:
        require(self.bins == 0 or self.bins >= 2, "network.bins", self.bins, "0 for any value, or at least 2")


@registered("algorithm", "ddpg", Fit(("deterministic",), ("replay",)))
@dataclass
class DDPGSettings(LearnerSettings):
    """Deep deterministic policy gradient; see `lightning_modules.ddpg.DDPG`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.ddpg.DDPG"
    actor_lr_factor: float = setting("learning rate of the policy, as a multiple of the critics'", above=0, example=0.1)
    gamma: float = setting("discount of a step", symbol="gamma", least=0, most=1, example=0.99)
    target_every: int = setting("updates after which the target networks follow the learned ones", least=1)
    tau: float = setting(
        "how far they follow; 1: they become the learned ones", symbol="tau", above=0, most=1, example=1
    )
    actor_every: int = setting("updates of the critics for one of the policy", symbol="d", least=1)
    smoothing: float = setting(
        "standard deviation of the noise on the target policy's actions", symbol="sigma", least=0, example=0.2
    )
    smoothing_clip: float = setting("bound of that noise", symbol="c")
    actor_clip: float | None = setting("value at which gradients of the policy are cut; null: never")
    reward_scale: float = setting("factor of the rewards that the learner sees")


@dataclass
class Convolutions(TrainedWeights):
    """Convolutions of a network, where there are pixels."""

    pixel_channels: list[int] = setting("channels of the convolutions, where there are pixels")
    pixel_kernels: list[int] = setting("their kernels")
    pixel_strides: list[int] = setting("their strides")

    def check(self) -> None:
        lengths = {len(self.pixel_channels), len(self.pixel_kernels), len(self.pixel_strides)}
        expected = "as many as network.pixel_kernels and network.pixel_strides"
        require(len(lengths) == 1, "network.pixel_channels", list(self.pixel_channels), expected)


@registered("network", "deterministic")
@dataclass
class DeterministicActorCriticConfig(Convolutions):
    """A deterministic policy and its critics; see `visagent.networks.deterministic.DeterministicActorCritic`."""

    _target_: str = "visagent.networks.deterministic.DeterministicActorCritic"
    _partial_: bool = True
    actor_hidden: list[int] = setting(
        "widths of the policy's hidden layers", least=1, expected="widths of layers, such as [400,300]"
    )
    critic_hidden: list[int] = setting(
        "widths of the critics' hidden layers", least=1, expected="widths of layers, such as [400,300]"
    )
    critics: int = setting("number of critics", among=(1, 2), expected="1, or 2 for TD3")
    pixel_features: int = setting("units after the convolutions")
    layer_norm: bool = setting("whether hidden layers are normalised")

    def check(self) -> None:
        for name in ("actor_hidden", "critic_hidden"):
            widths = getattr(self, name)
            require(len(widths) > 0, f"network.{name}", list(widths), "widths of layers, such as [400,300]")
        super().check()


@registered("algorithm", "random_policy", Fit(("uniform", "uniform_options", "round_robin"), ("rollouts", "options")))
@dataclass
class RandomPolicySettings(LearnerSettings):
    """Random actions; see `lightning_modules.random_policy.RandomPolicy`."""

    _target_: str = "lightning_modules.random_policy.RandomPolicy"


@registered("network", "uniform")
@dataclass
class UniformPolicyConfig(TrainedWeights):
    """Every action alike; see `visagent.networks.uniform.UniformPolicy`."""

    _target_: str = "visagent.networks.uniform.UniformPolicy"
    _partial_: bool = True


@dataclass
class ActorDataSettings(Settings):
    """What is asked of all experience from actors; see `datamodules.actors.ActorDataModule`."""

    env: Any = setting("worlds, chosen with env=NAME")
    pool: str = setting(
        "where actors run: in this process, in others, or on a Ray cluster", among=("serial", "process", "ray")
    )
    address: str | None = setting(
        "address of the Ray cluster, HOST:PORT or auto; null: one is started here", as_before=None, signed=True
    )
    mode: str = setting(
        "synchronous, or asynchronous: actors run ahead with the policy that was published last",
        among=("synchronous", "asynchronous"),
    )
    actors: int = setting("number of actors, of all ranks together", least=1, most=MOST_PROCESSES, expected=PROCESSES)
    ahead: int = setting("tasks that asynchronous actors may be ahead of the learner", least=1)
    max_lag: int | None = setting(
        "versions of the policy after which what asynchronous actors made is made again; null: any",
        least=0,
        expected="null or at least 0",
    )
    shared_memory: bool = setting(
        "whether actors of other processes write into shared memory", as_before=True, signed=True
    )
    iterations_per_epoch: int = setting("batches between two evaluations", least=1)
    eval_episodes: int = setting("episodes of an evaluation", least=1)
    test_episodes: int = setting("episodes of the test", least=1)
    test_looks: list[str] = setting(
        "looks of the worlds that the policy is tested in beside its own, where they have looks",
        as_before=[],
        expected="looks of the worlds, such as [color_hard,video_easy], or [] for none",
    )
    eval_deterministic: bool = setting("whether evaluated policies act by the mode of their distribution")
    film_episodes: int = setting("test episodes of which a video is made", least=0, as_before=0, signed=True)
    solved_return: float | None = setting(
        "return of an evaluated episode that counts as solved; null: the environment's own, where it has one",
        as_before=None,
    )
    seed: int = setting("seed of worlds and actions")
    timeout: float | None = setting(
        "seconds without a word from actors elsewhere after which the run stops; null: it waits for ever",
        above=0,
        as_before=None,
        expected="null or a number of seconds above 0",
    )

    def check(self) -> None:
        possible = self.mode == "synchronous" or self.pool != "serial"
        require(
            possible,
            "datamodule.mode",
            self.mode,
            "synchronous where datamodule.pool=serial: one process does one thing at a time",
        )
        require(
            isinstance(self.env, dict) and "_target_" in self.env,
            "datamodule.env",
            self.env,
            "worlds, chosen with env=NAME",
        )
        looks = "look" in self.env
        require(
            looks or not self.test_looks,
            "datamodule.test_looks",
            list(self.test_looks),
            "[] for worlds that have no looks",
        )


@registered("datamodule", "rollouts")
@dataclass
class RolloutDataSettings(ActorDataSettings):
    """On-policy experience; see `datamodules.rollouts.RolloutDataModule`."""

    _target_: str = "datamodules.rollouts.RolloutDataModule"
    worlds_per_actor: int = setting("worlds stepped by one actor", least=1)
    steps: int = setting("steps of each world in a batch", symbol="T", least=1)


@registered("datamodule", "perturbations")
@dataclass
class PerturbationDataSettings(ActorDataSettings):
    """Returns of perturbed policies; see `datamodules.perturbations.PerturbationDataModule`."""

    _target_: str = "datamodules.perturbations.PerturbationDataModule"
    pairs: int = setting(
        "antithetic pairs of perturbed policies in a batch, of all actors together", symbol="P", least=1
    )
    episodes_per_policy: int = setting("episodes whose mean is the return of a perturbed policy", least=1)
    worlds_per_actor: int = setting("worlds stepped together by one actor", least=1)
    sigma: float = setting("standard deviation of the perturbations", symbol="sigma", above=0, example=0.02)
    noise_size: int = setting("numbers in the noise table, 4 bytes each", least=1)
    cache: str = setting("folder of the noise table")


@dataclass
class ExplorationConfig:
    """How actors explore; see `visagent.actors.exploration.Exploration`."""

    _target_: str = "visagent.actors.exploration.Exploration"
    kind: str = setting(
        "noise on actions that is independent in each step, or goes on; or samples of a stochastic policy",
        among=("normal", "ornstein_uhlenbeck", "policy"),
    )
    max_sigma: float = setting(
        "standard deviation of the noise in the world that explores most, actions being in [-1, 1]",
        least=0,
        expected="1.0 or another number from 0",
    )
    theta: float = setting("pull of the Ornstein-Uhlenbeck process towards zero", symbol="theta")
    dt: float = setting("its time step")


@registered("datamodule", "replay")
@dataclass
class ReplayDataSettings(ActorDataSettings):
    """Off-policy experience; see `datamodules.replay.ReplayDataModule`."""

    _target_: str = "datamodules.replay.ReplayDataModule"
    worlds_per_actor: int = setting("worlds stepped by one actor", least=1)
    steps: int = setting("steps of each world in an iteration", symbol="T", least=2)
    updates: int = setting("updates of the learner in an iteration", symbol="U", least=1)
    batch_size: int = setting("draws of an update, of all shards together", symbol="N", least=1)
    warmup: int = setting(
        "steps of all worlds without updates, with uniform actions or, of dagger, the expert's", least=1
    )
    capacity: int = setting("rows of all streams that are drawn from", least=1)
    n_step: int = setting("steps of the returns", symbol="n", least=1)
    shards: int = setting(
        "parts of the replay, of all ranks together, each in a process of its own where actors are", least=1
    )
    prefetch: bool = setting(
        "whether the next batch is drawn while the learner learns, before actors write the newest rows"
    )
    collect: str = setting(
        "who acts: the policy that learns, after steps at random; or, for imitation, the expert and then the policy "
        "(dagger), the expert alone, the policy alone (student), or expert and student in turn (both)",
        among=("policy", "dagger", "expert", "student", "both"),
        as_before="policy",
    )
    exploration: ExplorationConfig = setting("how actors explore", nested=ExplorationConfig)

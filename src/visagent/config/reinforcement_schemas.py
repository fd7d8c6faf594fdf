"""Typed schemas of reinforcement learning: algorithms, networks, worlds and how actors reach them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from visagent.config.rules import added, positive, processes
from visagent.config.settings import Settings, require, setting


@dataclass
class LearnerSettings(Settings):
    """What all methods of reinforcement learning are told."""

    seed: int = setting("seed of the weights, and of what the method draws")


@dataclass
class ScheduledSettings(LearnerSettings):
    """Of methods whose learning rate follows a schedule over the run."""

    schedule: str = setting("schedule of the learning rate over the run", among=("constant", "linear"))
    final_rate: float = setting("share of the learning rate at which a linear schedule ends", least=0, most=1, example=0.1)


@dataclass
class PPOSettings(ScheduledSettings):
    """Proximal policy optimisation; see `lightning_modules.ppo.PPO`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.ppo.PPO"
    variant: str = setting("the clipped objective, or SURREAL's adaptive penalty on the divergence", among=("clip", "adaptive_kl"))
    gamma: float = setting("discount of a step", symbol="gamma", least=0, most=1, example=0.99)
    lam: float = setting("decay of GAE", symbol="lambda", least=0, most=1, example=0.95)
    epochs: int = setting("passes over each batch", symbol="K", least=1)
    minibatch_size: int = setting("samples of a step of the optimizer; with an LSTM, worlds times steps", symbol="M", least=1)
    clip: float = setting("how far the ratio of the clipped objective counts", symbol="epsilon", above=0, example=0.2)
    kl_target: float = setting("target of the mean divergence, nats; of adaptive_kl and kl_stop", symbol="d_targ", above=0, example=0.015)
    kl_cutoff: float = setting("weight of the squared excess over twice the target, of adaptive_kl", symbol="eta")
    beta: float = setting("first weight of the penalty, of adaptive_kl", symbol="beta")
    beta_range: list[float] = setting("range of the penalty's weight")
    beta_factor: float = setting("factor by which the penalty's weight changes", above=1, example=1.5)
    kl_stop: float | None = setting(
        "multiple of kl_target at which passes end, of the mean divergence from the policy that learning from the batch began with; null: never"
    )
    publish_every: int = setting(
        "iterations after which actors get the policy; with a z-filter, counted from its first batch, which is for the filter alone", least=1
    )
    value_weight: float = setting("weight of the critic's loss, half the squared error", symbol="c_1")
    entropy_weight: float = setting("weight of the entropy", symbol="c_2")
    max_grad_norm: float | None = setting("norm that gradients are scaled down to; null: never")
    standardize: str = setting("over what advantages are standardised", among=("none", "batch", "minibatch"))
    reward_scale: float = setting("factor of the rewards that the learner sees")
    normalize_rewards: bool = setting("divide rewards by the running standard deviation of discounted returns", as_before=False, signed=True)

    def check(self) -> None:
        ordered = len(self.beta_range) == 2 and 0 < self.beta_range[0] <= self.beta <= self.beta_range[1]
        require(ordered, "algorithm.beta_range", list(self.beta_range), f"[LOW,HIGH] around algorithm.beta, {self.beta}")


@dataclass
class ActorCriticConfig:
    """Policy and critic; see `visagent.networks.actor_critic.ActorCritic`."""

    _target_: str = "visagent.networks.actor_critic.ActorCritic"
    _partial_: bool = True
    actor_hidden: list[int] = MISSING
    critic_hidden: list[int] = MISSING
    activation: str = MISSING
    squash_mean: bool = MISSING
    init_log_std: float = MISSING
    normalize: bool = MISSING
    pixel_features: int = MISSING
    lstm: int = MISSING
    orthogonal_init: bool = MISSING
    min_log_std: float | None = added(as_before=None)

    def check(self) -> None:
        possible = self.min_log_std is None or self.min_log_std <= self.init_log_std
        require(possible, "network.min_log_std", self.min_log_std, f"null, or at most network.init_log_std, {self.init_log_std}")
        require(self.activation in ("tanh", "relu"), "network.activation", self.activation, "tanh or relu")
        for name in ("actor_hidden", "critic_hidden"):
            widths = getattr(self, name)
            require(all(width >= 1 for width in widths), f"network.{name}", list(widths), "widths of layers, such as [64,64]")
        positive("network", self, "pixel_features")
        require(self.lstm >= 0, "network.lstm", self.lstm, "at least 0 units")


@dataclass
class EvolutionStrategiesSettings(LearnerSettings):
    """Evolution strategies; see `lightning_modules.evolution.EvolutionStrategies`."""

    _target_: str = "lightning_modules.evolution.EvolutionStrategies"
    shaping: str = setting("what is learned of returns: their centred ranks, or themselves", among=("ranks", "none"))


@dataclass
class EvolvedPolicyConfig:
    """A policy whose weights are one vector; see `visagent.networks.evolved.EvolvedPolicy`."""

    _target_: str = "visagent.networks.evolved.EvolvedPolicy"
    _partial_: bool = True
    hidden: list[int] = MISSING
    bins: int = MISSING
    action_noise: float = MISSING
    normalize: bool = MISSING

    def check(self) -> None:
        require(all(width >= 1 for width in self.hidden), "network.hidden", list(self.hidden), "widths of layers, such as [64,64]")
        require(self.bins == 0 or self.bins >= 2, "network.bins", self.bins, "0 for any value, or at least 2")
        require(self.action_noise >= 0, "network.action_noise", self.action_noise, "0.01 or another number from 0")


@dataclass
class DDPGSettings(LearnerSettings):
    """Deep deterministic policy gradient; see `lightning_modules.ddpg.DDPG`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.ddpg.DDPG"
    actor_lr_factor: float = setting("learning rate of the policy, as a multiple of the critics'", above=0, example=0.1)
    gamma: float = setting("discount of a step", symbol="gamma", least=0, most=1, example=0.99)
    target_every: int = setting("updates after which the target networks follow the learned ones", least=1)
    tau: float = setting("how far they follow; 1: they become the learned ones", symbol="tau", above=0, most=1, example=1)
    actor_every: int = setting("updates of the critics for one of the policy", symbol="d", least=1)
    smoothing: float = setting("standard deviation of the noise on the target policy's actions", symbol="sigma", least=0, example=0.2)
    smoothing_clip: float = setting("bound of that noise", symbol="c")
    actor_clip: float | None = setting("value at which gradients of the policy are cut; null: never")
    reward_scale: float = setting("factor of the rewards that the learner sees")


@dataclass
class DeterministicActorCriticConfig:
    """A deterministic policy and its critics; see `visagent.networks.deterministic.DeterministicActorCritic`."""

    _target_: str = "visagent.networks.deterministic.DeterministicActorCritic"
    _partial_: bool = True
    actor_hidden: list[int] = MISSING
    critic_hidden: list[int] = MISSING
    critics: int = MISSING
    pixel_channels: list[int] = MISSING
    pixel_kernels: list[int] = MISSING
    pixel_strides: list[int] = MISSING
    pixel_features: int = MISSING
    layer_norm: bool = MISSING

    def check(self) -> None:
        for name in ("actor_hidden", "critic_hidden"):
            widths = getattr(self, name)
            require(len(widths) > 0 and all(width >= 1 for width in widths), f"network.{name}", list(widths), "widths of layers, such as [400,300]")
        require(self.critics in (1, 2), "network.critics", self.critics, "1, or 2 for TD3")
        lengths = {len(self.pixel_channels), len(self.pixel_kernels), len(self.pixel_strides)}
        require(len(lengths) == 1, "network.pixel_channels", list(self.pixel_channels), "as many as network.pixel_kernels and network.pixel_strides")


@dataclass
class RandomPolicySettings(LearnerSettings):
    """Random actions; see `lightning_modules.random_policy.RandomPolicy`."""

    _target_: str = "lightning_modules.random_policy.RandomPolicy"


@dataclass
class UniformPolicyConfig:
    """Every action alike; see `visagent.networks.uniform.UniformPolicy`."""

    _target_: str = "visagent.networks.uniform.UniformPolicy"
    _partial_: bool = True


@dataclass
class GymnasiumConfig:
    """Worlds from a gymnasium id; see `visagent.envs.gymnasium_world.GymnasiumWorlds`."""

    _target_: str = "visagent.envs.gymnasium_world.GymnasiumWorlds"
    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = MISSING
    observe: str = added(as_before="own", signed=True)
    pixels: int = added(as_before=84, signed=True)
    action_repeat: int = MISSING
    frame_stack: int = MISSING

    def check(self) -> None:
        require(self.observe in ("own", "pixels", "both"), "datamodule.env.observe", self.observe, "own, pixels or both")
        positive("datamodule.env", self, "pixels", "action_repeat", "frame_stack")
        require(self.max_steps is None or self.max_steps >= 1, "datamodule.env.max_steps", self.max_steps, "null or at least 1")


@dataclass
class CurriculumConfig:
    """Episodes that begin from demonstrations; see `visagent.envs.demonstrations.Curriculum`."""

    _target_: str = "visagent.envs.demonstrations.Curriculum"
    demonstrations: str | None = MISSING
    probability: float = MISSING
    uniform: float = MISSING
    forward: float = MISSING
    reverse: float = MISSING
    window: int = MISSING
    growth: int = MISSING
    cache: str = MISSING

    def check(self) -> None:
        where = "datamodule.env.curriculum"
        require(0 <= self.probability <= 1, f"{where}.probability", self.probability, "0.9 or another number in [0, 1]")
        possible = self.probability == 0 or self.demonstrations is not None
        require(possible, f"{where}.demonstrations", self.demonstrations, "scripted or a file, as datamodule.env.curriculum.probability is above 0")
        ratios = (self.uniform, self.forward, self.reverse)
        require(min(ratios) >= 0 and abs(sum(ratios) - 1) < 1e-6, f"{where}.uniform", self.uniform, f"a share that adds up to 1 with the others of {ratios}")
        positive(where, self, "window")
        require(self.growth >= 0, f"{where}.growth", self.growth, "at least 0")


NO_CURRICULUM = {
    "_target_": "visagent.envs.demonstrations.Curriculum",
    "demonstrations": "scripted",
    "probability": 0.0,
    "uniform": 1.0,
    "forward": 0.0,
    "reverse": 0.0,
    "window": 25,
    "growth": 25,
    "cache": "outputs/cache/demonstrations",
}


@dataclass
class RobosuiteConfig:
    """Worlds of a robosuite task; see `visagent.envs.robosuite_world.RobosuiteWorlds`."""

    _target_: str = "visagent.envs.robosuite_world.RobosuiteWorlds"
    task: str = MISSING
    robot: str | None = MISSING
    observe: list[str] = MISSING
    pixels: int = MISSING
    camera: str = MISSING
    render_quality: str = MISSING
    max_steps: int = MISSING
    control_hz: float = MISSING
    max_velocity: float = MISSING
    reward_shaping: bool = MISSING
    action_repeat: int = MISSING
    frame_stack: int = MISSING
    curriculum: CurriculumConfig = added(as_before=NO_CURRICULUM, signed=True, default_factory=CurriculumConfig)

    def check(self) -> None:
        require(self.render_quality in ("fast", "reference"), "datamodule.env.render_quality", self.render_quality, "fast or reference")
        require(self.pixels >= 0, "datamodule.env.pixels", self.pixels, "0 for none, or 84")
        require(self.control_hz > 0, "datamodule.env.control_hz", self.control_hz, "10 or another number above 0")
        require(self.max_velocity > 0, "datamodule.env.max_velocity", self.max_velocity, "1.0 or another number above 0")
        positive("datamodule.env", self, "max_steps", "action_repeat", "frame_stack")


@dataclass
class ActorDataConfig:
    """What is asked of all experience from actors; see `datamodules.actors.ActorDataModule`."""

    env: Any = MISSING
    pool: str = MISSING
    address: str | None = added(as_before=None, signed=True)
    mode: str = MISSING
    actors: int = MISSING
    ahead: int = MISSING
    max_lag: int | None = MISSING
    shared_memory: bool = added(as_before=True, signed=True)
    iterations_per_epoch: int = MISSING
    eval_episodes: int = MISSING
    test_episodes: int = MISSING
    eval_deterministic: bool = MISSING
    film_episodes: int = added(as_before=0, signed=True)
    solved_return: float | None = added(as_before=None)
    seed: int = MISSING
    timeout: float | None = added(as_before=None)

    def check(self) -> None:
        require(self.pool in ("serial", "process", "ray"), "datamodule.pool", self.pool, "serial, process or ray")
        require(self.mode in ("synchronous", "asynchronous"), "datamodule.mode", self.mode, "synchronous or asynchronous")
        possible = self.mode == "synchronous" or self.pool != "serial"
        require(possible, "datamodule.mode", self.mode, "synchronous where datamodule.pool=serial: one process does one thing at a time")
        require(isinstance(self.env, dict) and "_target_" in self.env, "datamodule.env", self.env, "worlds, chosen with env=NAME")
        processes("datamodule", self, "actors")
        positive("datamodule", self, "ahead", "iterations_per_epoch", "eval_episodes", "test_episodes")
        require(self.film_episodes >= 0, "datamodule.film_episodes", self.film_episodes, "at least 0")
        require(self.max_lag is None or self.max_lag >= 0, "datamodule.max_lag", self.max_lag, "null or at least 0")
        require(self.timeout is None or self.timeout > 0, "datamodule.timeout", self.timeout, "null or a number of seconds above 0")


@dataclass
class RolloutDataConfig(ActorDataConfig):
    """On-policy experience; see `datamodules.rollouts.RolloutDataModule`."""

    _target_: str = "datamodules.rollouts.RolloutDataModule"
    worlds_per_actor: int = MISSING
    steps: int = MISSING

    def check(self) -> None:
        super().check()
        positive("datamodule", self, "worlds_per_actor", "steps")


@dataclass
class PerturbationDataConfig(ActorDataConfig):
    """Returns of perturbed policies; see `datamodules.perturbations.PerturbationDataModule`."""

    _target_: str = "datamodules.perturbations.PerturbationDataModule"
    pairs: int = MISSING
    episodes_per_policy: int = MISSING
    worlds_per_actor: int = MISSING
    sigma: float = MISSING
    noise_size: int = MISSING
    cache: str = MISSING

    def check(self) -> None:
        super().check()
        positive("datamodule", self, "pairs", "episodes_per_policy", "worlds_per_actor", "noise_size")
        require(self.sigma > 0, "datamodule.sigma", self.sigma, "0.02 or another number above 0")


@dataclass
class ExplorationConfig:
    """Noise on actions; see `visagent.actors.exploration.Exploration`."""

    _target_: str = "visagent.actors.exploration.Exploration"
    kind: str = MISSING
    max_sigma: float = MISSING
    theta: float = MISSING
    dt: float = MISSING

    def check(self) -> None:
        expected = "normal or ornstein_uhlenbeck"
        require(self.kind in ("normal", "ornstein_uhlenbeck"), "datamodule.exploration.kind", self.kind, expected)
        require(self.max_sigma >= 0, "datamodule.exploration.max_sigma", self.max_sigma, "1.0 or another number from 0")


@dataclass
class ReplayDataConfig(ActorDataConfig):
    """Off-policy experience; see `datamodules.replay.ReplayDataModule`."""

    _target_: str = "datamodules.replay.ReplayDataModule"
    worlds_per_actor: int = MISSING
    steps: int = MISSING
    updates: int = MISSING
    batch_size: int = MISSING
    warmup: int = MISSING
    capacity: int = MISSING
    n_step: int = MISSING
    shards: int = MISSING
    prefetch: bool = MISSING
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def check(self) -> None:
        super().check()
        positive("datamodule", self, "worlds_per_actor", "steps", "updates", "batch_size", "warmup", "capacity", "n_step", "shards")
        require(self.steps >= 2, "datamodule.steps", self.steps, "at least 2")

"""Typed schemas of learning over options: algorithms, networks, worlds."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from visagent.config.reinforcement_schemas import ActorDataConfig
from visagent.config.rules import added, positive, require


@dataclass
class OptionMAPPOConfig:
    """MAPPO over options; see `lightning_modules.option_mappo.OptionMAPPO`."""

    _target_: str = "lightning_modules.option_mappo.OptionMAPPO"
    gamma: float = MISSING
    lam: float = MISSING
    lam_by_duration: bool = MISSING
    rewards: str = MISSING
    log_prob: str = MISSING
    epochs: int = MISSING
    minibatches: int = MISSING
    clip: float = MISSING
    huber: float = MISSING
    entropy_weight: float = MISSING
    entropy: str = MISSING
    max_grad_norm: float | None = MISSING
    schedule: str = added(as_before="constant", signed=True)
    final_rate: float = added(as_before=0.0, signed=True)
    seed: int = MISSING

    def check(self) -> None:
        require(self.schedule in ("constant", "linear"), "algorithm.schedule", self.schedule, "constant or linear")
        for name in ("gamma", "lam", "final_rate"):
            require(0 <= getattr(self, name) <= 1, f"algorithm.{name}", getattr(self, name), "0.99 or another number in [0, 1]")
        require(self.rewards in ("smdp", "paper_code"), "algorithm.rewards", self.rewards, "smdp or paper_code")
        require(self.log_prob in ("conditional", "joint"), "algorithm.log_prob", self.log_prob, "conditional or joint")
        require(self.entropy in ("conditional", "normalised", "joint"), "algorithm.entropy", self.entropy, "conditional, normalised or joint")
        positive("algorithm", self, "epochs", "minibatches")
        require(self.clip > 0, "algorithm.clip", self.clip, "0.2 or another number above 0")
        require(self.huber > 0, "algorithm.huber", self.huber, "10 or another number above 0")


@dataclass
class OptionActorCriticConfig:
    """Policy over options, and critic; see `visagent.networks.options.OptionActorCritic`."""

    _target_: str = "visagent.networks.options.OptionActorCritic"
    _partial_: bool = True
    coupling: str = MISSING
    hidden: list[int] = MISSING
    critic_hidden: list[int] = MISSING
    critic: str = MISSING

    def check(self) -> None:
        couplings = ("joint", "partial", "factorised", "autoregressive")
        require(self.coupling in couplings, "network.coupling", self.coupling, ", ".join(couplings))
        critics = ("observations", "observations_and_options", "state", "local")
        require(self.critic in critics, "network.critic", self.critic, ", ".join(critics))
        possible = self.critic != "local" or self.coupling == "partial"
        others = "observations, observations_and_options or state, as one choice is made for all; or network.coupling=partial"
        require(possible, "network.critic", self.critic, others)
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            require(all(width >= 1 for width in widths), f"network.{name}", list(widths), "widths of layers, such as [64,64]")


@dataclass
class MacDQNConfig:
    """Mac-Cen-DDRQN; see `lightning_modules.mac_dqn.MacDQN`."""

    _target_: str = "lightning_modules.mac_dqn.MacDQN"
    gamma: float = MISSING
    target_every: int = MISSING
    epsilon: float = MISSING
    final_epsilon: float = MISSING
    exploring_steps: int = MISSING
    max_grad_norm: float | None = MISSING
    reward_scale: float = added(as_before=1.0, signed=True)
    seed: int = MISSING

    def check(self) -> None:
        for name in ("gamma", "epsilon", "final_epsilon"):
            require(0 <= getattr(self, name) <= 1, f"algorithm.{name}", getattr(self, name), "a number in [0, 1]")
        positive("algorithm", self, "target_every", "exploring_steps")
        require(self.reward_scale > 0, "algorithm.reward_scale", self.reward_scale, "1 or another number above 0")


@dataclass
class OptionQConfig:
    """Values of joint options; see `visagent.networks.option_q.OptionQNetwork`."""

    _target_: str = "visagent.networks.option_q.OptionQNetwork"
    _partial_: bool = True
    width: int = MISSING
    lstm: int = MISSING

    def check(self) -> None:
        positive("network", self, "width", "lstm")


@dataclass
class ToolDeliveryConfig:
    """Tool Delivery; see `visagent.envs.tool_delivery.ToolDeliveryWorlds`."""

    _target_: str = "visagent.envs.tool_delivery.ToolDeliveryWorlds"
    horizon: int = MISSING
    speed: float = MISSING

    def check(self) -> None:
        positive("datamodule.env", self, "horizon")
        require(self.speed > 0, "datamodule.env.speed", self.speed, "0.6 or another number above 0")


@dataclass
class WaterFillingConfig:
    """Water Filling; see `visagent.envs.water_filling.WaterFillingWorlds`."""

    _target_: str = "visagent.envs.water_filling.WaterFillingWorlds"
    observation: str = MISSING
    scene: str = MISSING
    cache: str = MISSING
    extractor: str = MISSING
    walls: bool = MISSING
    horizon: int = MISSING

    def check(self) -> None:
        require(self.observation in ("state", "rgb"), "datamodule.env.observation", self.observation, "state or rgb")
        positive("datamodule.env", self, "horizon")


@dataclass
class UniformOptionsConfig:
    """Every option alike; see `visagent.networks.scripted_options.UniformOptions`."""

    _target_: str = "visagent.networks.scripted_options.UniformOptions"
    _partial_: bool = True


@dataclass
class RoundRobinConfig:
    """Options in turn; see `visagent.networks.scripted_options.RoundRobin`."""

    _target_: str = "visagent.networks.scripted_options.RoundRobin"
    _partial_: bool = True
    order: list[int] = MISSING

    def check(self) -> None:
        require(len(self.order) > 0 and min(self.order) >= 0, "network.order", list(self.order), "numbers of options, such as [0,1,2,1]")


@dataclass
class OptionDataConfig(ActorDataConfig):
    """On-policy experience of options; see `datamodules.options.OptionDataModule`."""

    _target_: str = "datamodules.options.OptionDataModule"
    scheme: str = MISSING
    worlds_per_actor: int = MISSING
    steps: int = MISSING
    gamma: float = MISSING
    max_option_steps: int | None = added(as_before=None, signed=True)

    def check(self) -> None:
        super().check()
        limit = self.max_option_steps
        require(limit is None or limit > 0, "datamodule.max_option_steps", limit, "200 or another number above 0, or null")
        schemes = ("async", "sync_wait", "sync_cut", "end2end")
        require(self.scheme in schemes, "datamodule.scheme", self.scheme, ", ".join(schemes))
        positive("datamodule", self, "worlds_per_actor", "steps")
        require(0 <= self.gamma <= 1, "datamodule.gamma", self.gamma, "${algorithm.gamma}")


@dataclass
class OptionReplayDataConfig(OptionDataConfig):
    """Whole episodes of options; see `datamodules.option_replay.OptionReplayDataModule`."""

    _target_: str = "datamodules.option_replay.OptionReplayDataModule"
    updates: int = MISSING
    batch_size: int = MISSING
    capacity: int = MISSING
    longest: int = MISSING
    warmup: int = MISSING

    def check(self) -> None:
        super().check()
        positive("datamodule", self, "updates", "batch_size", "capacity", "longest", "warmup")
        require(self.warmup <= self.capacity, "datamodule.warmup", self.warmup, f"at most datamodule.capacity, {self.capacity}")

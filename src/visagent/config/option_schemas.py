"""Typed schemas of learning over options: algorithms, networks, worlds."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from visagent.config.reinforcement_schemas import ActorDataConfig, LearnerSettings, ScheduledSettings
from visagent.config.rules import added, positive
from visagent.config.settings import require, setting


@dataclass
class OptionMAPPOSettings(ScheduledSettings):
    """MAPPO over options; see `lightning_modules.option_mappo.OptionMAPPO`."""

    _target_: str = "lightning_modules.option_mappo.OptionMAPPO"
    gamma: float = setting("discount of a low-level step", symbol="gamma", least=0, most=1, example=0.99)
    lam: float = setting("decay of GAE", symbol="lambda", least=0, most=1, example=0.95)
    lam_by_duration: bool = setting("whether lambda counts low-level steps instead of option steps")
    rewards: str = setting(
        "smdp: all that is paid until the next decision, discounted by low-level steps; paper_code, as the released code has it: "
        "what the last low-level step pays, discounted by option steps",
        among=("smdp", "paper_code"),
    )
    log_prob: str = setting(
        "conditional (Eq. 3), or joint: the update takes the joint option for chosen as a whole, as the released code does (biased)",
        among=("conditional", "joint"),
    )
    epochs: int = setting("passes over each batch", least=1)
    minibatches: int = setting("parts of the batch in each pass", least=1)
    clip: float = setting("how far ratios and the critic's values count", symbol="epsilon", above=0, example=0.2)
    huber: float = setting("error from which on the critic's loss is linear", above=0, example=10)
    entropy_weight: float = setting("weight of the entropy")
    entropy: str = setting(
        "conditional; normalised by its largest value; or joint, of the whole joint distribution",
        among=("conditional", "normalised", "joint"),
    )
    max_grad_norm: float | None = setting("norm that the gradients of policy and critic, each for itself, are scaled down to; null: never")
    schedule: str = setting("schedule of the learning rates over the run", among=("constant", "linear"), as_before="constant", signed=True)
    final_rate: float = setting("share of the learning rates at which a linear schedule ends", least=0, most=1, example=0.1, as_before=0.0, signed=True)


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
class MacDQNSettings(LearnerSettings):
    """Mac-Cen-DDRQN; see `lightning_modules.mac_dqn.MacDQN`."""

    _target_: str = "lightning_modules.mac_dqn.MacDQN"
    gamma: float = setting("discount of a low-level step", symbol="gamma", least=0, most=1, example=0.95)
    target_every: int = setting("low-level steps after which the target network becomes the learned one", least=1)
    epsilon: float = setting("probability, in the beginning, that an agent that chooses takes any option", symbol="epsilon", least=0, most=1)
    final_epsilon: float = setting("the same in the end", least=0, most=1)
    exploring_steps: int = setting("low-level steps over which epsilon becomes final_epsilon", least=1)
    max_grad_norm: float | None = setting("norm that gradients are scaled down to; null: never")
    reward_scale: float = setting("factor of the rewards that the learner sees", above=0, example=1, as_before=1.0, signed=True)


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

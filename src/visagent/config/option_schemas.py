"""Typed schemas of learning over options: algorithms, networks, worlds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from visagent.config.registry import Fit, registered
from visagent.config.reinforcement_schemas import ActorDataSettings, LearnerSettings, ScheduledSettings
from visagent.config.settings import require, setting
from visagent.config.trained_weights import TrainedWeights


@registered("algorithm", "option_mappo", Fit(("options",), ("options",), ("option_replay",)))
@dataclass
class OptionMAPPOSettings(ScheduledSettings):
    """MAPPO over options; see `lightning_modules.option_mappo.OptionMAPPO`."""

    _target_: str = "lightning_modules.option_mappo.OptionMAPPO"
    gamma: float = setting("discount of a low-level step", symbol="gamma", least=0, most=1, example=0.99)
    lam: float = setting("decay of GAE", symbol="lambda", least=0, most=1, example=0.95)
    lam_by_duration: bool = setting("whether lambda counts low-level steps instead of option steps")
    rewards: str = setting(
        "smdp: all that is paid until the next decision, discounted by low-level steps; paper_code, as the released "
        "code has it: "
        "what the last low-level step pays, discounted by option steps",
        among=("smdp", "paper_code"),
    )
    log_prob: str = setting(
        "conditional (Eq. 3), or joint: the update takes the joint option for chosen as a whole, as the released code "
        "does (biased)",
        among=("conditional", "joint"),
    )
    passes: int = setting("passes over each batch", least=1, formerly="epochs")
    minibatches: int = setting("parts of the batch in each pass", least=1)
    clip: float = setting("how far ratios and the critic's values count", symbol="epsilon", above=0, example=0.2)
    huber: float = setting("error from which on the critic's loss is linear", above=0, example=10)
    entropy_weight: float = setting("weight of the entropy")
    entropy: str = setting(
        "conditional; normalised by its largest value; or joint, of the whole joint distribution",
        among=("conditional", "normalised", "joint"),
    )
    max_grad_norm: float | None = setting(
        "norm that the gradients of policy and critic, each for itself, are scaled down to; null: never"
    )
    schedule: str = setting(
        "schedule of the learning rates over the run", among=("constant", "linear"), as_before="constant", signed=True
    )
    final_rate: float = setting(
        "share of the learning rates at which a linear schedule ends",
        least=0,
        most=1,
        example=0.1,
        as_before=0.0,
        signed=True,
    )


@registered("network", "options", formerly="visagent.networks.options.OptionActorCritic")
@dataclass
class OptionActorCriticConfig(TrainedWeights):
    """Policy over options, and critic; see `visagent.networks.option_policies.OptionActorCritic`."""

    _target_: str = "visagent.networks.option_policies.OptionActorCritic"
    _partial_: bool = True
    coupling: str = setting(
        "how the choices of the agents hang together",
        among=("joint", "partial", "factorised", "autoregressive"),
        expected="joint, partial, factorised, autoregressive",
    )
    hidden: list[int] = setting(
        "widths of the policy's hidden layers", least=1, expected="widths of layers, such as [64,64]"
    )
    critic_hidden: list[int] = setting(
        "widths of the critic's hidden layers", least=1, expected="widths of layers, such as [64,64]"
    )
    critic: str = setting(
        "what the critic sees; local: one critic for each agent, that sees what its partial policy does",
        among=("observations", "observations_and_options", "state", "local"),
        expected="observations, observations_and_options, state, local",
    )

    def check(self) -> None:
        possible = self.critic != "local" or self.coupling == "partial"
        others = (
            "observations, observations_and_options or state, as one choice is made for all; or "
            "network.coupling=partial"
        )
        require(possible, "network.critic", self.critic, others)


@registered("algorithm", "mac_dqn", Fit(("option_q",), ("option_replay",)))
@dataclass
class MacDQNSettings(LearnerSettings):
    """Mac-Cen-DDRQN; see `lightning_modules.mac_dqn.MacDQN`."""

    _target_: str = "lightning_modules.mac_dqn.MacDQN"
    gamma: float = setting("discount of a low-level step", symbol="gamma", least=0, most=1, example=0.95)
    target_every: int = setting("low-level steps after which the target network becomes the learned one", least=1)
    epsilon: float = setting(
        "probability, in the beginning, that an agent that chooses takes any option", symbol="epsilon", least=0, most=1
    )
    final_epsilon: float = setting("the same in the end", least=0, most=1)
    exploring_steps: int = setting("low-level steps over which epsilon becomes final_epsilon", least=1)
    max_grad_norm: float | None = setting("norm that gradients are scaled down to; null: never")
    reward_scale: float = setting(
        "factor of the rewards that the learner sees", above=0, example=1, as_before=1.0, signed=True
    )


@registered("network", "option_q")
@dataclass
class OptionQConfig(TrainedWeights):
    """Values of joint options; see `visagent.networks.option_q.OptionQNetwork`."""

    _target_: str = "visagent.networks.option_q.OptionQNetwork"
    _partial_: bool = True
    width: int = setting("units of the first and of the last hidden layer", least=1)
    lstm: int = setting("units of the LSTM and of the layer before it", least=1)


@registered("env", "tool_delivery")
@dataclass
class ToolDeliveryConfig:
    """Tool Delivery; see `visagent.envs.tool_delivery.ToolDeliveryWorlds`."""

    options: ClassVar[bool] = True  # where others have single actions
    _target_: str = "visagent.envs.tool_delivery.ToolDeliveryWorlds"
    horizon: int = setting("low-level steps after which an episode is truncated", least=1)
    speed: float = setting("metres that a turtlebot moves in a low-level step", above=0, example=0.6)


@registered("env", "water_filling")
@dataclass
class WaterFillingConfig:
    """Water Filling; see `visagent.envs.water_filling.WaterFillingWorlds`."""

    options: ClassVar[bool] = True  # where others have single actions
    _target_: str = "visagent.envs.water_filling.WaterFillingWorlds"
    observation: str = setting("places as numbers, or frozen features of the robots' views", among=("state", "rgb"))
    scene: str = setting("room of rgb: an embedded one, or the path of a scene dump")
    cache: str = setting("folder of embedded rooms")
    extractor: str = setting("what the features of an embedded room come from")
    walls: bool = setting("whether two inner walls make rooms of the grid of state")
    horizon: int = setting("low-level steps after which an episode is truncated", least=1)


@registered("network", "uniform_options")
@dataclass
class UniformOptionsConfig(TrainedWeights):
    """Every option alike; see `visagent.networks.scripted_options.UniformOptions`."""

    _target_: str = "visagent.networks.scripted_options.UniformOptions"
    _partial_: bool = True


@registered("network", "round_robin")
@dataclass
class RoundRobinConfig(TrainedWeights):
    """Options in turn; see `visagent.networks.scripted_options.RoundRobin`."""

    _target_: str = "visagent.networks.scripted_options.RoundRobin"
    _partial_: bool = True
    order: list[int] = setting("numbers of options, taken over and over")

    def check(self) -> None:
        require(
            len(self.order) > 0 and min(self.order) >= 0,
            "network.order",
            list(self.order),
            "numbers of options, such as [0,1,2,1]",
        )


@registered("datamodule", "options", formerly="datamodules.options.OptionDataModule")
@dataclass
class OptionDataSettings(ActorDataSettings):
    """On-policy experience of options; see `datamodules.option_rollouts.OptionDataModule`."""

    _target_: str = "datamodules.option_rollouts.OptionDataModule"
    scheme: str = setting(
        "who chooses when; end2end takes the worlds' low-level actions for options",
        among=("async", "sync_wait", "sync_cut", "end2end"),
        expected="async, sync_wait, sync_cut, end2end",
    )
    worlds_per_actor: int = setting("worlds stepped by one actor", least=1)
    steps: int = setting("low-level steps of a world in a batch", least=1)
    gamma: float = setting(
        "discount of a low-level step", symbol="gamma", least=0, most=1, expected="${algorithm.gamma}"
    )
    max_option_steps: int | None = setting(
        "decisions after which an episode is truncated; null: never",
        above=0,
        as_before=None,
        signed=True,
        expected="200 or another number above 0, or null",
    )


@registered("datamodule", "option_replay")
@dataclass
class OptionReplayDataSettings(OptionDataSettings):
    """Whole episodes of options; see `datamodules.option_replay.OptionReplayDataModule`."""

    _target_: str = "datamodules.option_replay.OptionReplayDataModule"
    updates: int = setting("updates of the learner in an iteration", symbol="U", least=1)
    batch_size: int = setting("episodes of an update", least=1)
    capacity: int = setting("episodes that are kept", least=1)
    longest: int = setting("decisions of an episode that are kept", least=1)
    warmup: int = setting("episodes before the first update", least=1)

    def check(self) -> None:
        super().check()
        require(
            self.warmup <= self.capacity,
            "datamodule.warmup",
            self.warmup,
            f"at most datamodule.capacity, {self.capacity}",
        )

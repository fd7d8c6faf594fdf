"""Typed schemas of soft actor-critic, SECANT and the worlds whose looks change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from visagent.config.registry import Fit, registered
from visagent.config.reinforcement_schemas import Convolutions, LearnerSettings
from visagent.config.settings import require, setting

LOOKS = ("train", "color_narrow", "color_easy", "color_hard", "color_uniform", "video_easy", "video_hard")
POOLS = (
    "combo1", "combo2", "combo3", "cutout_color", "convolution", "gaussian", "impulse", "mixup", "cutmix",
    "crop", "random_network", "none",
)  # fmt: skip
WIDTHS = "widths of layers, such as [256,256]"


@dataclass
class DistractedSettings(LearnerSettings):
    """What is mixed into pictures; see `visagent.augment.distractors`."""

    distractor_speed: float = setting(
        "how far pictures that are mixed in drift from a frame to the next at most, as a share of their side",
        least=0,
        as_before=0.0,
    )
    distractors: str | None = setting(
        "folder of pictures that are mixed in, such as COCO's; null: fields of colour are made", as_before=None
    )


@registered("algorithm", "sac", Fit(("soft_actor_critic",), ("replay",)))
@dataclass
class SACSettings(DistractedSettings):
    """Soft actor-critic; see `lightning_modules.sac.SAC`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.sac.SAC"
    gamma: float = setting("discount of a step", symbol="gamma", least=0, most=1, example=0.99)
    temperature: float = setting(
        "weight of the policy's entropy that learning begins with", symbol="alpha", above=0, example=0.1
    )
    target_entropy: float = setting(
        "entropy of the policy that the temperature is learned for, nats below zero for each component of an action"
    )
    tau: float = setting(
        "how far the target critics follow; 1: they become the learned ones", symbol="tau", above=0, most=1, example=1
    )
    target_every: int = setting("updates after which the target critics follow the learned ones", least=1)
    actor_every: int = setting("updates of the critics for one of the policy and the temperature", least=1)
    actor_lr_factor: float = setting("learning rate of the policy, as a multiple of the critics'", above=0, example=0.1)
    temperature_lr_factor: float = setting(
        "learning rate of the temperature, as a multiple of the critics'", above=0, example=0.1
    )
    reward_scale: float = setting("factor of the rewards that the learner sees")
    augmentation: str = setting(
        "pool of augmentations, one of which each picture to learn from gets", among=POOLS, as_before="none"
    )
    views: int = setting(
        "augmented views of an observation that the critics' loss is averaged over", symbol="M", least=1, as_before=1
    )
    target_views: int = setting(
        "augmented views of the next observation that the target is averaged over", symbol="K", least=1, as_before=1
    )


@registered("algorithm", "inverse_dynamics", Fit(("soft_actor_critic",), ("replay",)))
@dataclass
class InverseDynamicsSettings(SACSettings):
    """SAC with inverse dynamics; see `lightning_modules.inverse_dynamics.InverseDynamicsSAC`."""

    _target_: str = "lightning_modules.inverse_dynamics.InverseDynamicsSAC"
    inverse_every: int = setting("updates of the critics for one of the inverse dynamics", least=1)
    inverse_lr_factor: float = setting(
        "learning rate of the inverse dynamics, as a multiple of the critics'", above=0, example=0.1
    )
    inverse_hidden: list[int] = setting("widths of its hidden layers", least=1, expected=WIDTHS)


@registered("algorithm", "network_randomization", Fit(("randomized_actor_critic",), ("replay",)))
@dataclass
class NetworkRandomizationSettings(SACSettings):
    """SAC with network randomization; see `lightning_modules.network_randomization.NetworkRandomization`."""

    _target_: str = "lightning_modules.network_randomization.NetworkRandomization"
    matching: float = setting(
        "weight of the distance between features of pictures and of their randomized ones", symbol="beta", least=0
    )


@registered("network", "soft_actor_critic")
@dataclass
class SoftActorCriticConfig(Convolutions):
    """A stochastic policy and twin critics; see `visagent.networks.soft_actor_critic.SoftActorCritic`."""

    _target_: str = "visagent.networks.soft_actor_critic.SoftActorCritic"
    _partial_: bool = True
    hidden: list[int] = setting("widths of the hidden layers, of actor and critics", least=1, expected=WIDTHS)
    log_std_range: list[float] = setting("bounds of the logarithm of the policy's standard deviation before tanh")
    projection: int = setting("units that actor and critics each project the convolutions' features to", least=1)
    frame_differences: bool = setting(
        "whether stacked frames but the newest are replaced by what changed until the next", as_before=False
    )

    def check(self) -> None:
        require(len(self.hidden) > 0, "network.hidden", list(self.hidden), WIDTHS)
        ordered = len(self.log_std_range) == 2 and self.log_std_range[0] < self.log_std_range[1]
        require(ordered, "network.log_std_range", list(self.log_std_range), "[LOW,HIGH]")
        super().check()


@registered("network", "randomized_actor_critic")
@dataclass
class RandomizedActorCriticConfig(SoftActorCriticConfig):
    """It acts on randomized pictures; see `visagent.networks.randomized.RandomizedActorCritic`."""

    _target_: str = "visagent.networks.randomized.RandomizedActorCritic"
    samples: int = setting("randomized pictures that a deterministic action is averaged over", symbol="M", least=1)


@dataclass
class ExpertConfig:
    """The run whose policy is imitated."""

    overrides: list[str] = setting("what the expert's run is composed of, as visagent-train would be told it")
    train: bool = setting("whether the expert's run is trained first where it is not finished")
    signature: str | None = setting("signature of that run, which follows from the overrides; null: not yet known")


@registered("algorithm", "self_expert_cloning", Fit(("pixel_policy",), ("replay",)))
@dataclass
class SelfExpertCloningSettings(DistractedSettings):
    """Self-expert cloning; see `lightning_modules.self_expert_cloning.SelfExpertCloning`."""

    pixel_precisions: ClassVar[tuple[str, ...]] = ("bf16-mixed",)
    _target_: str = "lightning_modules.self_expert_cloning.SelfExpertCloning"
    expert: ExpertConfig = setting("run whose policy is imitated", nested=ExpertConfig)
    expert_checkpoint: str | None = setting(
        "policy from elsewhere that is imitated in its place, a PyTorch 2 archive from observations to actions; see "
        "docs/secant.md",
        as_before=None,
    )
    expert_hash: str | None = setting("of that file, from which it follows; null: not yet known", as_before=None)
    augmentation: str = setting("pool of augmentations, one of which each picture to learn from gets", among=POOLS)
    loss: str = setting("mean squared distance of actions, or the norm of all of a batch", among=("squared", "norm"))


@registered("network", "expert_with_student")
@dataclass
class ExpertWithStudentConfig(SoftActorCriticConfig):
    """A soft actor-critic and its student; see `visagent.networks.expert_with_student.ExpertWithStudent`."""

    _target_: str = "visagent.networks.expert_with_student.ExpertWithStudent"
    student_hidden: list[int] = setting("widths of the student's hidden layers", least=1, expected=WIDTHS)


@registered("algorithm", "parallel_cloning", Fit(("expert_with_student",), ("replay",)))
@dataclass
class ParallelCloningSettings(SACSettings):
    """SECANT-Parallel; see `lightning_modules.parallel_cloning.ParallelCloning`."""

    _target_: str = "lightning_modules.parallel_cloning.ParallelCloning"
    student_augmentation: str = setting(
        "pool of augmentations, one of which each picture that the student learns from gets", among=POOLS
    )
    loss: str = setting("mean squared distance of actions, or the norm of all of a batch", among=("squared", "norm"))


@registered("algorithm", "policy_adaptation", Fit(("uniform",), ("rollouts",)))
@dataclass
class PolicyAdaptationSettings(LearnerSettings):
    """A trained policy that adapts while it is tested; see `lightning_modules.policy_adaptation.PolicyAdaptation`."""

    _target_: str = "lightning_modules.policy_adaptation.PolicyAdaptation"
    expert: ExpertConfig = setting("run whose policy adapts, of algorithm=inverse_dynamics", nested=ExpertConfig)
    lr: float = setting("learning rate of the adaptation", above=0, example=0.001)
    crops: int = setting("crops of the last transition that a step of the adaptation learns from", least=1)


@registered("network", "pixel_policy")
@dataclass
class PixelPolicyConfig(Convolutions):
    """A deterministic policy of pictures; see `visagent.networks.imitation.PixelPolicy`."""

    _target_: str = "visagent.networks.imitation.PixelPolicy"
    _partial_: bool = True
    hidden: list[int] = setting("widths of the hidden layers", least=1, expected=WIDTHS)
    projection: int = setting("units that the convolutions' features are projected to", least=1)
    frame_differences: bool = setting(
        "whether stacked frames but the newest are replaced by what changed until the next", as_before=False
    )

    def check(self) -> None:
        require(len(self.hidden) > 0, "network.hidden", list(self.hidden), WIDTHS)
        super().check()


@registered("env", "dm_control")
@dataclass
class DMControlConfig:
    """Worlds of a task of the DeepMind Control Suite; see `visagent.envs.dm_control_world.DMControlWorlds`."""

    _target_: str = "visagent.envs.dm_control_world.DMControlWorlds"
    domain: str = setting("domain of the suite")
    task: str = setting("task of the domain")
    observe: str = setting("what is observed: the task's state, pictures, or both", among=("state", "pixels", "both"))
    pixels: int = setting("side of the pictures", least=1)
    camera: int = setting("number of the camera", least=0)
    render_quality: str = setting(
        "how pictures are drawn: without shadows and reflections, or as the suite does; scores of the two do not "
        "compare",
        among=("fast", "reference"),
    )
    max_steps: int = setting("time limit in steps of the simulation's control, whatever action_repeat", least=1)
    action_repeat: int = setting("control steps for each action; rewards add up", least=1)
    frame_stack: int = setting("observations joined, the newest last", least=1)
    look: str = setting("look of the episodes that are learned from, and tested in first", among=LOOKS)
    look_data: str | None = setting(
        "folder of DMControl-GB's colours and films, its src/env/data; null: both are made", as_before=None
    )


@registered("env", "rooms")
@dataclass
class RoomsConfig:
    """Worlds in which a robot looks for a lamp; see `visagent.envs.rooms_world.RoomsWorlds`."""

    _target_: str = "visagent.envs.rooms_world.RoomsWorlds"
    pixels: int = setting("side of the pictures", least=1)
    max_steps: int = setting("time limit in steps of a tenth of a second", least=1)
    frame_stack: int = setting("observations joined, the newest last", least=1)
    look: str = setting(
        "rooms of the episodes that are learned from, and tested in first", among=("train", "narrow", "easy", "hard")
    )


@registered("env", "carla")
@dataclass
class CarlaConfig:
    """Driving on a running CARLA server; see `visagent.envs.carla_world.CarlaWorlds`."""

    _target_: str = "visagent.envs.carla_world.CarlaWorlds"
    host: str = setting("of the server")
    port: int = setting("of the server", least=1, most=65535)
    pixels: int = setting("side of a camera's picture; the panorama is five times as wide", least=1)
    max_steps: int = setting("time limit in ticks of the simulation, whatever action_repeat", least=1)
    action_repeat: int = setting("ticks for each action; rewards add up", least=1)
    frame_stack: int = setting("observations joined, the newest last", least=1)
    look: str = setting(
        "weather of the episodes that are learned from, and tested in first",
        among=("train", "wet_sunset", "wet_cloudy_noon", "soft_rain_sunset", "mid_rain_sunset", "hard_rain_noon"),
    )

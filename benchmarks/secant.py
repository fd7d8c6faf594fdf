"""SECANT: looks, augmentation, updates of SAC and of a student, and what adapting costs while acting."""

from __future__ import annotations

import colorsys
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.report import Part, Row, alternating_medians
from lightning_modules.sac import SAC
from visagent.augment.images import random_crop
from visagent.augment.pools import AugmentationPool
from visagent.config.composition import compose_run, config_folder
from visagent.config.secant_schemas import SACSettings
from visagent.envs.dm_control_world import DMControlWorlds
from visagent.envs.looks import green_key
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.experience.transitions import Transitions
from visagent.learning.ranks import ALONE
from visagent.networks.adaptation import AdaptingPolicy
from visagent.networks.imitation import PixelPolicy
from visagent.networks.inverse_dynamics import InverseDynamics
from visagent.networks.soft_actor_critic import SoftActorCritic
from visagent.objectives.distillation import imitation_loss
from visagent.runtime.building import make

KEY_SIDE, BATCH = 84, 128
ELEVEN = {"pixel_channels": [32] * 11, "pixel_kernels": [3] * 11, "pixel_strides": [2] + [1] * 10}


@dataclass(frozen=True)
class Scale:
    """Sizes of pictures and networks: those of the laptop on a CPU, the paper's on a GPU.

    Attributes:
        side: of pictures.
        suffix: of presets' names.
    """

    side: int
    suffix: str

    @property
    def spaces(self) -> WorldSpaces:
        """Spaces of three stacked frames."""
        return WorldSpaces({"pixels": (9, self.side, self.side)}, ActionSpace("continuous", 1), 3)

    def pixels(self, count: int, device: str = "cpu") -> Tensor:
        """Stacks of noise."""
        rng = torch.Generator().manual_seed(0)
        shape = (count, *self.spaces.observation["pixels"])
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng).to(device)


LAPTOP, PAPER = Scale(48, ""), Scale(84, "_paper")


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area; drawing and acting are on the CPU, and not measured for a GPU."""
    torch.set_num_threads(1)
    rounds, scale = 15 if long else 5, LAPTOP if device == "cpu" else PAPER
    learning = [
        Part("student", 20, lambda: _student(scale, device, rounds)),
        Part("SAC", 40, lambda: _sac(scale, device, rounds)),
    ]
    if device != "cpu":
        return learning
    return [
        Part("green key", 3, _key),
        Part("drawing", 15, _drawing),
        Part("adaptation", 15, lambda: _adaptation(scale, rounds)),
        *learning,
    ]


def _key() -> Iterator[Row]:
    picture = np.random.default_rng(0).integers(0, 256, (KEY_SIDE, KEY_SIDE, 3), dtype=np.uint8)

    def loop() -> NDArray[np.bool_]:
        key = np.zeros(picture.shape[:2], bool)
        for row, column in np.ndindex(*key.shape):
            hue, saturation, value = colorsys.rgb_to_hsv(*(picture[row, column] / 255.0))
            key[row, column] = 100 <= 360 * hue <= 185 and saturation >= 80 / 255 and value >= 70 / 255
        return key

    times = alternating_medians({"ours": lambda: green_key(picture), "loop": loop}, 5)
    yield Row(
        "green key, 84 x 84", 1 / times["ours"], 1 / times["loop"], 50.0, "max", "pictures/s", "a loop over pixels"
    )


def _drawing() -> Iterator[Row]:
    worlds = {
        quality: DMControlWorlds("cartpole", "swingup", "pixels", KEY_SIDE, render_quality=quality).make()
        for quality in ("fast", "reference")
    }
    for world in worlds.values():
        world.reset(0)

    def drawing(world: Any) -> Callable[[], object]:
        return lambda: [world.step(np.zeros(1)) for _ in range(10)]

    times = alternating_medians({name: drawing(world) for name, world in worlds.items()}, 5)
    for world in worlds.values():
        world.close()
    fast, reference = 10 / times["fast"], 10 / times["reference"]
    peer = "as the suite draws"
    yield Row("cartpole, 84 x 84, 4 samples a pixel", fast, reference, 4.0, "max", "steps/s", peer)


def _settings(preset: str, group: str) -> dict[str, Any]:
    """A group of a preset's config."""
    with config_folder():
        return dict(compose_run([f"experiment=secant/{preset}"])[group])


def _student_policy(scale: Scale) -> PixelPolicy:
    policy: PixelPolicy = make("network", _settings(f"student{scale.suffix}", "network"))(scale.spaces)
    return policy


def _student(scale: Scale, device: str, rounds: int) -> Iterator[Row]:
    policy, pixels = _student_policy(scale).to(device), scale.pixels(BATCH, device)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-3, fused=True)
    speed = _settings(f"student{scale.suffix}", "algorithm")["distractor_speed"]
    pool, rng = AugmentationPool("combo1", scale.side, 0, speed), torch.Generator().manual_seed(0)
    labels = torch.zeros(BATCH, 1, device=device)

    def update() -> None:
        loss = imitation_loss(policy(pool(pixels, rng)), labels, "squared")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    times = alternating_medians({"augment": lambda: pool(pixels, rng), "update": update}, 4 * rounds, device)
    name, peer = f"Combo1, {BATCH} stacks of {scale.side} x {scale.side}", "a quarter of a student's update"
    yield Row(name, 1000 * times["augment"], 1000 * times["update"] / 4, 1.0, "min", "ms", peer)


def _adaptation(scale: Scale, rounds: int) -> Iterator[Row]:
    own, student = _settings("student", "network"), _student_policy(scale)
    same = {key: own[key] for key in ELEVEN}
    for name, convolutions in (("the same convolutions", same), ("its 11 convolutions", ELEVEN)):
        settings = {**_settings("inverse_dynamics", "network"), **convolutions}
        network: SoftActorCritic = make("network", settings)(scale.spaces)
        assert network.actor.trunk.projection is not None
        linear = network.actor.trunk.projection[0]
        assert isinstance(linear, nn.Linear)
        inverse = InverseDynamics(linear.in_features, linear.out_features, [256, 256], 1)
        adapting, one = AdaptingPolicy(network, inverse, 1e-3, 32), scale.pixels(1)
        state = adapting.initial_state(1)

        def plain(one: Tensor = one) -> None:
            with torch.inference_mode():
                for _ in range(10):
                    student(one)

        def adapt(adapting: AdaptingPolicy = adapting, state: Any = state, one: Tensor = one) -> None:
            adapting.act({"pixels": one}, state, True)

        times = alternating_medians({"student": plain, "PAD": adapt}, 2 * rounds)
        peer = f"PAD with {name}"
        yield Row(
            f"a student's action, {scale.side} x {scale.side}",
            10 / times["student"],
            1 / times["PAD"],
            30.0,
            "max",
            "1/s",
            peer,
        )


class _Alone(SAC):
    """SAC without a Trainer around it."""

    spaces: WorldSpaces
    ranks = ALONE

    @property
    def data(self) -> Any:
        return SimpleNamespace(spaces=self.spaces)

    def own_optimizers(self) -> list[torch.optim.Optimizer]:
        return self.configure_optimizers()


class _Plain:
    """SAC from pictures as one writes it down: the peer, with networks and sizes of ours."""

    def __init__(self, network: SoftActorCritic, settings: Any) -> None:
        self.network, self.target = network, copy.deepcopy(network).requires_grad_(False)
        device = next(network.parameters()).device
        self.log_alpha = torch.tensor(math.log(settings.temperature), device=device, requires_grad=True)
        self.critics = torch.optim.Adam(network.critic_parameters(), 1e-3)
        self.actor = torch.optim.Adam(network.actor.parameters(), 1e-3)
        self.alpha, self.turn = torch.optim.Adam([self.log_alpha], 1e-3), 0

    def policy(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.network.actor(features, None)
        normal = torch.distributions.Normal(mean, log_std.exp())
        before = normal.rsample()
        action = before.tanh()
        return action, (normal.log_prob(before) - torch.log(1 - action**2 + 1e-6)).sum(-1)

    def update(self, drawn: Transitions, rng: torch.Generator) -> None:
        network, alpha = self.network, self.log_alpha.exp()
        now = {"pixels": random_crop(drawn.observation["pixels"].float(), rng)}
        later = {"pixels": random_crop(drawn.next_observation["pixels"].float(), rng)}
        with torch.no_grad():
            action, log_prob = self.policy(network.features(later))  # type: ignore[arg-type]
            value = self.target.values(later, action).amin(0) - alpha * log_prob
            wanted = drawn.rewards[:, 0] + 0.99 * ~drawn.terminated * value
        loss = sum(nn.functional.mse_loss(q, wanted) for q in network.values(now, drawn.action))
        self.critics.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        self.critics.step()
        self.turn += 1
        if self.turn % 2:
            return
        with torch.no_grad():
            features = network.features(now)
        action, log_prob = self.policy(features)  # type: ignore[arg-type]
        loss = (alpha.detach() * log_prob - network.critic(features, None, action).amin(0)).mean()
        self.actor.zero_grad()
        loss.backward()
        self.actor.step()
        loss = (self.log_alpha.exp() * (-log_prob.detach() + 1.0)).mean()
        self.alpha.zero_grad()
        loss.backward()
        self.alpha.step()
        with torch.no_grad():
            for old, new in zip(self.target.critic_parameters(), network.critic_parameters(), strict=True):
                old.lerp_(new, 0.01)


def _sac(scale: Scale, device: str, rounds: int) -> Iterator[Row]:
    preset, spaces = f"expert{scale.suffix}", scale.spaces
    factory, optimizer = (make(group, _settings(preset, group)) for group in ("network", "optimizer"))
    told = _settings(preset, "algorithm")
    settings = SACSettings(**{name: value for name, value in told.items() if name != "_target_"})
    ours = _Alone(settings, factory, optimizer)
    ours.spaces = spaces
    ours.network = factory(spaces)
    ours.build()
    ours.to(device).train()
    ours.on_fit_start()
    ours.turn = 0
    plain, pixels = _Plain(copy.deepcopy(ours.network), settings), scale.pixels(BATCH, device)
    drawn = Transitions(
        torch.zeros(BATCH, 1, device=device), {"pixels": pixels}, {"pixels": pixels.flip(0)},
        torch.ones(BATCH, 1, device=device), torch.ones(BATCH, dtype=torch.int64, device=device),
        torch.zeros(BATCH, dtype=torch.bool, device=device),
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)

    def two_of_ours() -> None:
        for _ in range(2):  # the policy's turn is every second one
            ours.update(drawn, rng)
            ours.turn += 1
            ours.follow()

    def two_plain() -> None:
        for _ in range(2):
            plain.update(drawn, rng)

    times = alternating_medians({"ours": two_of_ours, "plain": two_plain}, rounds, device)
    name = f"SAC+crop, {BATCH} stacks of {scale.side} x {scale.side}"
    yield Row(name, 2 / times["ours"], 2 / times["plain"], 0.9, "max", "updates/s", "a plain PyTorch loop")

"""RubiksNet (Fan et al., ECCV 2020; dissertation Chapter 6): residual networks whose spatial and temporal reach is
learned shifts.

Modules carry the names of the released code (StanfordVL/RubiksNet), so that its checkpoints load as they are and ours
load there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visagent.errors import ConfigError
from visagent.networks.shift import AttentionShift, RubiksShift2D, RubiksShift3D, TemporalShift, tsm_offsets
from visagent.networks.weights import read_checkpoint, weights_of


@dataclass(frozen=True)
class Tier:
    """A size: channels of the first stage, blocks of stages 1 to 4, and whether blocks squeeze and excite."""

    width: int
    blocks: tuple[int, int, int, int]
    squeeze: bool


TIERS = {
    "tiny": Tier(54, (3, 4, 6, 3), False),
    "small": Tier(72, (3, 4, 6, 3), True),
    "medium": Tier(72, (3, 4, 23, 3), False),
    "large": Tier(72, (3, 8, 36, 3), False),
    "micro": Tier(32, (1, 1, 1, 1), False),  # not the paper's: for trainings in minutes on a laptop
}
VARIANTS = ("rubiks3d", "rubiks3d-iq", "rubiks3d-aq", "rubiks2d")
"""Interpolated (RS), interpolated quantised (RS-IQ), attention quantised (RS-AQ), and without time, for pretraining on
images.
"""
OFFICIAL_VARIANTS = ("rubiks3d", "rubiks3d-aq")
SHIFTS = ("learned", "fixed")
SQUEEZE_RATIO = 12


class SqueezeExcitation(nn.Module):
    """Scales each channel of a frame by what all channels of that frame hold (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // SQUEEZE_RATIO
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * scale[:, :, None, None]


class RubiksBlock(nn.Module):
    """A residual block with the shift inside its branch (Section 6.3.5), pre-activated.

    Args:
        inputs, outputs: channels.
        stride: of height and width, taken by the shift.
        num_frames: frames per clip.
        variant: of the shift.
        squeeze: with squeeze and excitation after the shift.
        learn_space, learn_time: otherwise ShiftNet's and TSM's fixed shifts.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        num_frames: int,
        variant: str,
        squeeze: bool,
        learn_space: bool,
        learn_time: bool,
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        mix = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.conv2: nn.Module = mix
        if variant == "rubiks3d-aq":
            time = AttentionShift(inputs, num_frames) if learn_time else TemporalShift(tsm_offsets(inputs), num_frames)
            self.conv2 = nn.Sequential(time, mix)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.as3: nn.Module
        if variant in ("rubiks3d-aq", "rubiks2d"):
            self.as3 = RubiksShift2D(outputs, stride, learn_space)
        else:
            shift = RubiksShift3D(outputs, num_frames, stride, variant == "rubiks3d-iq", learn_space, learn_time)
            self.as3 = nn.Sequential()
            self.as3.add_module("rubiks3d", shift)
        self.se: nn.Module = SqueezeExcitation(outputs) if squeeze else nn.Identity()
        self.conv3 = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    @property
    def space(self) -> RubiksShift2D | RubiksShift3D:
        """The shift inside the branch, which also moves in time unless the variant has another layer for that."""
        shift = self.as3[0] if isinstance(self.as3, nn.Sequential) else self.as3
        assert isinstance(shift, (RubiksShift2D, RubiksShift3D))
        return shift

    @property
    def time(self) -> AttentionShift | TemporalShift | None:
        """RS-AQ's layer that moves in time, before the first convolution of the branch."""
        first = self.conv2[0] if isinstance(self.conv2, nn.Sequential) else None
        assert first is None or isinstance(first, (AttentionShift, TemporalShift))
        return first

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.bn1(x))
        straight = x if self.shortcut is None else self.shortcut(active)
        branch = torch.relu(self.bn2(self.conv2(active)))
        return self.conv3(self.se(self.as3(branch))) + straight  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """Frames to features: a convolution, five stages of blocks, the mean over each frame."""

    def __init__(self, tier: Tier, num_frames: int, variant: str, learn_space: bool, learn_time: bool) -> None:
        super().__init__()
        width = tier.width
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        inputs = width
        plan = [(width, 1, 1), *((width * 2**stage, blocks, 2) for stage, blocks in enumerate(tier.blocks))]
        for stage, (outputs, blocks, stride) in enumerate(plan):
            layer = nn.Sequential()
            for index in range(blocks):
                layer.append(
                    RubiksBlock(
                        inputs,
                        outputs,
                        stride if index == 0 else 1,
                        num_frames,
                        variant,
                        tier.squeeze,
                        learn_space,
                        learn_time,
                    )
                )
                inputs = outputs
            self.add_module(f"layer{stage}", layer)
        self.bn_last = nn.BatchNorm2d(inputs)
        self.features = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv1(frames)
        for stage in range(5):
            x = getattr(self, f"layer{stage}")(x)
        return torch.relu(self.bn_last(x)).mean(dim=(2, 3))


class RubiksNet(nn.Module):
    """RubiksNet: clips to class logits.

    Args:
        tier: `tiny`, `small`, `medium` or `large`; or `micro`, which is not the paper's.
        num_classes: classes.
        num_frames: frames per clip, any number.
        variant: `rubiks3d`, `rubiks3d-iq`, `rubiks3d-aq`, or `rubiks2d`, which looks at each frame alone.
        spatial: `learned`, or `fixed` to ShiftNet's shifts (Table 6.4).
        temporal: `learned`, or `fixed` to TSM's shifts (Table 6.4).

    Raises:
        ConfigError: for an unknown tier, variant or kind of shift.
    """

    def __init__(
        self,
        tier: str,
        num_classes: int,
        num_frames: int = 8,
        variant: str = "rubiks3d",
        spatial: str = "learned",
        temporal: str = "learned",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("tier", tier, tuple(TIERS)),
            ("variant", variant, VARIANTS),
            ("spatial", spatial, SHIFTS),
            ("temporal", temporal, SHIFTS),
        ):
            if value not in known:
                raise ConfigError(f"network.{name}: expected one of {', '.join(known)}, got {value!r}")
        if num_classes < 1 or num_frames < 1:
            raise ConfigError(
                f"network: expected at least one class and one frame, got num_classes={num_classes}, "
                f"num_frames={num_frames}"
            )
        self.tier, self.variant, self.num_classes, self.num_frames = tier, variant, num_classes, num_frames
        self.spatial, self.temporal = spatial, temporal
        self.backbone = Backbone(TIERS[tier], num_frames, variant, spatial == "learned", temporal == "learned")
        self.new_fc = nn.Linear(self.backbone.features, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits `[N, num_classes]` of normalised clips `[N, T, 3, H, W]` (or `[N, T 3, H, W]`): the mean over the
        frames'.
        """
        expected = self.num_frames * 3
        if clips.dim() not in (4, 5) or clips[0].numel() != expected * clips.shape[-2] * clips.shape[-1]:
            raise ValueError(f"RubiksNet: expected clips [N, {self.num_frames}, 3, H, W], got {list(clips.shape)}")
        frames = clips.reshape(-1, 3, *clips.shape[-2:])
        return self.new_fc(self.backbone(frames)).unflatten(0, (-1, self.num_frames)).mean(dim=1)  # type: ignore[no-any-return]

    def place_of(self, name: str, value: Tensor, about: Mapping[str, Any]) -> tuple[str, Tensor]:
        """This network's own name for a weight, and the value as it takes it.

        A spatial network (`rubiks2d`, pretrained on images) is inflated: its shifts become the rows H and W of the
        three-dimensional ones, whose time stays as it was initialised (Section 6.4.1, "Spatial Shift Pretraining").
        """
        own = self.state_dict()
        if name.startswith("fc."):
            name = f"new_{name}"
        deep, mixing = name.replace(".as3.shift", ".as3.rubiks3d.shift"), name.replace(".conv2.", ".conv2.1.")
        if name.endswith(".as3.shift") and deep in own and own[deep].shape[1:] == value.shape[1:]:
            return deep, torch.cat([own[deep][:1], value])
        # behind the shift in time of RS-AQ
        return (mixing if name not in own and mixing in own else name), value

    # Shifts

    def blocks(self) -> Iterator[tuple[str, RubiksBlock]]:
        """All blocks with their names, `layer0.0` and so on, from the input to the output."""
        for name, module in self.backbone.named_modules():
            if isinstance(module, RubiksBlock):
                yield name, module

    def attentions(self) -> list[AttentionShift]:
        """The temporal attention layers (RS-AQ), from the input to the output."""
        return [module for module in self.modules() if isinstance(module, AttentionShift)]

    def normalize_shift_gradients(self, t_factor: float = 1.0) -> None:
        """Replace each shift's gradient by its direction (Eq. 6.9, 6.10): after the backward pass, before the
        optimizer's step.

        Between processes gradients are averaged first and normalised then, so that the step does not depend on how many
        there are.
        """
        for module in self.modules():
            if isinstance(module, (RubiksShift3D, RubiksShift2D)):
                module.normalize_gradient(t_factor)

    def set_temperature(self, temperature: float) -> None:
        """The softmax temperature of every attention layer."""
        for attention in self.attentions():
            attention.T.fill_(temperature)

    def shift_share(self) -> Tensor:
        """The mean over layers of the attention on shifts other than zero, a scalar: the first term of Eq. 6.8."""
        return torch.stack(
            [attention.attention()[:, [0, 2]].sum(dim=1).mean() for attention in self.attentions()]
        ).mean()

    @torch.no_grad()
    def temporal_offsets(self) -> dict[str, Tensor]:
        """Per block, the frames that each channel is moved by, `[C]`: learned, most likely (RS-AQ) or fixed."""
        offsets = {}
        for name, block in self.blocks():
            if isinstance(block.time, AttentionShift):
                offsets[name] = block.time.likeliest()
            elif isinstance(block.time, TemporalShift):
                offsets[name] = block.time.offsets
            elif isinstance(block.space, RubiksShift3D):
                offsets[name] = block.space.shift[0].detach()
        return offsets

    @torch.no_grad()
    def moved_share(self) -> Tensor | None:
        """The share of channels that are moved by a frame or more when rounded; None without temporal shifts."""
        offsets = self.temporal_offsets().values()
        return torch.stack([(offset.abs() >= 0.5).float().mean() for offset in offsets]).mean() if offsets else None

    def spatial_offsets(self) -> dict[str, Tensor]:
        """Per block, the rows and columns that each channel is moved by, `[2, C]`."""
        return {name: block.space.shift[-2:].detach() for name, block in self.blocks()}

    def harden(self) -> RubiksNet:
        """Turn attention into whole shifts, in place (Section 6.3.3): each channel keeps its most likely one."""
        for _, block in self.blocks():
            if isinstance(block.conv2, nn.Sequential) and isinstance(block.time, AttentionShift):
                block.conv2[0] = TemporalShift(block.time.likeliest(), self.num_frames)
        return self


def load_official_checkpoint(path: Path | str) -> RubiksNet:
    """A network from a checkpoint in the released format, in eval mode.

    Args:
        path: a `.pth.tar` with `tier`, `num_classes`, `num_frames`, `variant` and the weights, `model`; read without
            unpickling code.

    Returns:
        The network in float32.

    Raises:
        ConfigError: when the file is missing, of another format, or does not fit its own description.
    """
    content = read_checkpoint(path)
    missing = [key for key in ("tier", "num_classes", "num_frames", "variant", "model") if key not in content]
    if missing:
        raise ConfigError(
            f"checkpoint {path}: expected RubiksNet's released format, {', '.join(missing)} missing; it holds "
            f"{', '.join(map(str, content))}"
        )
    if content["variant"] not in OFFICIAL_VARIANTS:
        raise ConfigError(
            f"checkpoint {path}: expected variant {' or '.join(OFFICIAL_VARIANTS)}, got {content['variant']!r}"
        )
    for key in ("num_classes", "num_frames"):
        if not isinstance(content[key], int) or content[key] < 1:
            raise ConfigError(
                f"checkpoint {path}: expected {key} to be a whole number of at least 1, got {content[key]!r}"
            )
    network = RubiksNet(content["tier"], content["num_classes"], content["num_frames"], content["variant"])
    try:
        network.load_state_dict(weights_of(path)[0])
    except RuntimeError as error:
        raise ConfigError(
            f"checkpoint {path}: its weights do not fit {content['tier']} {content['variant']}: {error}"
        ) from error
    return network.eval()


def save_official_checkpoint(network: RubiksNet, path: Path | str) -> None:
    """Write a network in the released format.

    Raises:
        ConfigError: for a variant that the released code does not have, or with attention already made whole.
    """
    if network.variant not in OFFICIAL_VARIANTS or (network.variant == "rubiks3d-aq" and not network.attentions()):
        raise ConfigError(
            f"the released format holds {' and '.join(OFFICIAL_VARIANTS)} with learned time, got {network.variant} "
            "without"
        )
    description = {key: getattr(network, key) for key in ("tier", "num_classes", "num_frames", "variant")}
    torch.save(
        {**description, "model": {name: value.detach().cpu() for name, value in network.state_dict().items()}}, path
    )

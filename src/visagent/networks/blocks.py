"""The three blocks whose latency Table 6.6 compares: the same channels in and out, one layer each that mixes space,
time and channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from visagent.errors import ConfigError
from visagent.networks.shift import RubiksShift3D, TemporalShift, tsm_offsets

KINDS = ("conv3d", "conv2d_shift", "rubiks_shift")


class Block(nn.Module):
    """One block.

    Args:
        kind: `conv3d` (3 x 3 x 3 convolution), `conv2d_shift` (TSM: fixed shift and 3 x 3 convolution), or
            `rubiks_shift` (learned shift in space and time, and a pointwise convolution).
        channels: in and out.
        num_frames: frames per clip.

    Raises:
        ConfigError: for another kind.
    """

    def __init__(self, kind: str, channels: int, num_frames: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"network.kind: expected one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        if kind == "conv3d":
            self.mix: nn.Module = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        elif kind == "conv2d_shift":
            self.shift: nn.Module = TemporalShift(tsm_offsets(channels), num_frames)
            self.mix = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        else:
            self.shift = RubiksShift3D(channels, num_frames, 1, quantize=False)
            self.mix = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        """`[N, T, C, H, W]` to the same; a 3D convolution takes and gives its own layout, `[N, C, T, H, W]`, so that
        nothing is copied for it.
        """
        if self.kind == "conv3d":
            mixed: Tensor = self.mix(clips.view(clips.shape[0], clips.shape[2], clips.shape[1], *clips.shape[3:]))
            return mixed
        return self.mix(self.shift(clips.flatten(0, 1))).unflatten(0, clips.shape[:2])  # type: ignore[no-any-return]

"""Layers that move channels through time and space, the primitive of RubiksNet (dissertation Section 6.3) and of TSM.

All take frames in the batch dimension, `[N T, C, H, W]`, as the two-dimensional layers around them do, and know the
number of frames T.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cuda_ext.ops import normalize_shift_grad, rubiks_shift_2d, rubiks_shift_3d, warn_where_slow

INITIAL_TEMPERATURE = 2.0
"""Of the attention's softmax (Section 6.4.1); annealed towards zero in training."""
FOLD = 8
"""TSM moves one channel in so many forwards and as many backwards."""


def shiftnet_offsets(channels: int) -> Tensor:
    """The fixed spatial shifts of ShiftNet (Wu et al. 2018): equal groups for the 3 x 3 displacements, `[2, C]` rows H,
    W.

    What does not divide by nine stays where it is, in the middle group.
    """
    group = channels // 9
    offsets = torch.zeros(2, channels)
    around = [(h, w) for h in (-1, 0, 1) for w in (-1, 0, 1) if (h, w) != (0, 0)]
    for place, displacement in enumerate(around):
        offsets[:, place * group : (place + 1) * group] = torch.tensor(displacement, dtype=offsets.dtype)[:, None]
    return offsets


def tsm_offsets(channels: int, fold: int = FOLD) -> Tensor:
    """The fixed temporal shifts of TSM (Lin et al. 2019): the first eighth reads the next frame, the second the last
    one, `[C]`.
    """
    offsets = torch.zeros(channels)
    group = channels // fold
    offsets[:group] = 1
    offsets[group : 2 * group] = -1
    return offsets


class RubiksShift3D(nn.Module):
    """A learned shift in time, height and width (Eq. 6.5, 6.6); with `quantize`, rounded on the way forward (Section
    6.3.2).

    Args:
        channels: C.
        num_frames: T.
        stride: of height and width.
        quantize: the interpolated quantised variant (RS-IQ).
        learn_space, learn_time: otherwise fixed to the shifts of ShiftNet and TSM.
    """

    def __init__(
        self,
        channels: int,
        num_frames: int,
        stride: int,
        quantize: bool,
        learn_space: bool = True,
        learn_time: bool = True,
    ) -> None:
        super().__init__()
        warn_where_slow()
        self.num_frames, self.stride, self.quantize = num_frames, stride, quantize
        self.learned = (learn_time, learn_space, learn_space)
        shift = torch.empty(3, channels).uniform_(-1, 1)
        if not learn_time:
            shift[0] = tsm_offsets(channels)
        if not learn_space:
            shift[1:] = shiftnet_offsets(channels)
        self.shift = nn.Parameter(shift, requires_grad=any(self.learned))

    def forward(self, x: Tensor) -> Tensor:
        """`[N T, C, H, W]` to `[N T, C, H', W']`."""
        clips = x.unflatten(0, (-1, self.num_frames))
        return rubiks_shift_3d(clips, self.shift, (1, self.stride, self.stride), 0, self.quantize).flatten(0, 1)

    def normalize_gradient(self, t_factor: float) -> None:
        """Keep of the gradient only its direction, over the rows that are learned (Eq. 6.9)."""
        if self.shift.grad is not None:
            kept = torch.tensor(self.learned, device=self.shift.device).view(3, 1)
            self.shift.grad.copy_(normalize_shift_grad(torch.where(kept, self.shift.grad, 0.0), t_factor))


class RubiksShift2D(nn.Module):
    """A learned shift in height and width, frame by frame.

    Args:
        channels: C.
        stride: of height and width.
        learn_space: otherwise fixed to ShiftNet's shifts.
    """

    def __init__(self, channels: int, stride: int, learn_space: bool = True) -> None:
        super().__init__()
        warn_where_slow()
        self.stride = stride
        self.shift = nn.Parameter(
            torch.empty(2, channels).uniform_(-1, 1) if learn_space else shiftnet_offsets(channels),
            requires_grad=learn_space,
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, H', W']`."""
        return rubiks_shift_2d(x, self.shift, self.stride)

    def normalize_gradient(self, t_factor: float) -> None:
        """Keep of the gradient only its direction."""
        if self.shift.grad is not None:
            self.shift.grad.copy_(normalize_shift_grad(self.shift.grad))


class AttentionShift(nn.Module):
    """A temporal shift chosen by attention over -1, 0 and +1 frames (Eq. 6.7, RubiksShift-AQ).

    `weight / std / T` enters a softmax; the layer adds the three shifted inputs weighted by it. The paper writes the
    temperature as a factor and lowers it; the released code divides, which is what lowering it towards one-hot weights
    needs, and what is done here.

    Args:
        channels: C.
        num_frames: frames per clip.
    """

    def __init__(self, channels: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.weight = nn.Parameter(torch.empty(channels, 3).uniform_(1.0, 1.05))
        self.T = nn.Parameter(torch.tensor(INITIAL_TEMPERATURE), requires_grad=False)

    def attention(self) -> Tensor:
        """`[C, 3]`: the share of each channel that reads the last, the same and the next frame."""
        scaled = self.weight / (self.weight.std(dim=1, keepdim=True) + 1e-6)
        return torch.softmax(scaled / self.T, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[N T, C, H, W]` to the same; outside the clip are zeros."""
        last, same, following = self.attention().to(x.dtype).t().unsqueeze(-1).unsqueeze(-1)
        clips = x.unflatten(0, (-1, self.num_frames))
        out: Tensor = clips * same
        out = out + nn.functional.pad(clips[:, :-1] * last, (0, 0, 0, 0, 0, 0, 1, 0))
        out = out + nn.functional.pad(clips[:, 1:] * following, (0, 0, 0, 0, 0, 0, 0, 1))
        return out.flatten(0, 1)

    @torch.no_grad()
    def likeliest(self) -> Tensor:
        """The most likely shift of every channel, `[C]` in {-1, 0, 1} (Section 6.3.3, after training)."""
        tap: Tensor = self.weight.argmax(dim=1)
        return (tap - 1).to(self.weight.dtype)


class TemporalShift(nn.Module):
    """Whole-frame shifts of channels, fixed: TSM's, or what an `AttentionShift` has learned.

    Args:
        offsets: `[C]` whole frames; +1 reads the next one.
        num_frames: frames per clip.
    """

    offsets: Tensor

    def __init__(self, offsets: Tensor, num_frames: int) -> None:
        super().__init__()
        warn_where_slow()
        self.num_frames = num_frames
        self.register_buffer("offsets", offsets.clone())

    def forward(self, x: Tensor) -> Tensor:
        """`[N T, C, H, W]` to the same; outside the clip are zeros."""
        shift = torch.zeros(3, len(self.offsets), dtype=self.offsets.dtype, device=x.device)
        shift[0] = self.offsets
        return rubiks_shift_3d(x.unflatten(0, (-1, self.num_frames)), shift, quantize=True).flatten(0, 1)

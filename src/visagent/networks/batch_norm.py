"""Batch normalisation over the batch of all processes, so that a training does not depend on how many there are."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Like `nn.BatchNorm2d`, with statistics of all processes; `nn.SyncBatchNorm` does this on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce  # differentiable

        # sums of half precision would not hold what they count, nor do the buffers take them
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = all_reduce(torch.tensor(float(x.numel() // x.shape[1]), dtype=wide.dtype, device=x.device))
        mean = all_reduce(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                for running, new in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                    running.copy_(running.to(wide.dtype).lerp(new, share))
        out: Tensor = (
            centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None, None] + self.bias[:, None, None]
        )
        return out.to(x.dtype)


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch normalisation over all processes; its weights and their names stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    return network

"""One step of an optimizer with the gradient of all ranks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from visagent.learning.ranks import ALONE, Ranks


class Descent:
    """An optimizer whose parameters' gradients are views of one vector, which is reduced over ranks and clipped as a
    whole.

    A method of reinforcement learning takes thousands of small steps in a training step, for which a loop over
    parameters, or Lightning's own way, costs more than the step. Numbers are not scaled: see `ReinforcementModule` on
    precisions.

    Args:
        optimizer: of `parameters`.
        parameters: float tensors of one dtype, on one device; their `grad` is replaced.
        ranks: whose gradients are summed: a loss is this rank's part of a mean over the samples of all ranks.
        max_norm: gradients are scaled down to this norm; None for never.
        max_value: components of gradients are cut at it; None for never.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Iterable[nn.Parameter],
        ranks: Ranks = ALONE,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        self.optimizer, self.ranks, self.max_norm, self.max_value = optimizer, ranks, max_norm, max_value
        self.parameters = list(parameters)
        sizes = [parameter.numel() for parameter in self.parameters]
        first = self.parameters[0]
        self.clipped_from: Tensor | None = None
        self.gradient = torch.zeros(sum(sizes), device=first.device, dtype=first.dtype)
        self.views = [part.view_as(p) for part, p in zip(self.gradient.split(sizes), self.parameters, strict=True)]
        self._attach()

    def _attach(self) -> None:
        """Have the parameters' gradients be views of the vector: Lightning sets them to None around a validation, and
        another descent may share some of the parameters.
        """
        if any(parameter.grad is not view for parameter, view in zip(self.parameters, self.views, strict=True)):
            for parameter, view in zip(self.parameters, self.views, strict=True):
                parameter.grad = view

    def step(self, loss: Tensor | None) -> None:
        """Descend a loss, this rank's part of all ranks' mean; None where this rank has no samples, which joins all the
        same.
        """
        self._attach()
        self.gradient.zero_()
        if loss is not None:
            loss.backward(inputs=self.parameters)
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Descend along what `gradient` holds of this rank."""
        self._attach()
        self.ranks.sum(self.gradient)
        if self.max_norm is not None:  # to the bit as torch.nn.utils.clip_grad_norm_
            self.clipped_from = norm = nn.utils.get_total_norm(self.views, foreach=True)
            self.gradient.mul_((self.max_norm / (norm + 1e-6)).clamp_(max=1.0))
        if self.max_value is not None:
            self.gradient.clamp_(-self.max_value, self.max_value)
        self.optimizer.step()

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Norm of the last step's gradient, before it was scaled down to `max_norm`."""
        return torch.linalg.vector_norm(self.gradient) if self.clipped_from is None else self.clipped_from

"""Learners that wait for each other at every exchange: the mean of all gradients, or of all weights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from visagent.config.learner_schemas import AveragingSettings, SynchronousSettings
from visagent.errors import OthersGone
from visagent.learning.exchange import fill, flatten
from visagent.learning.learners import Copy, Learners
from visagent.learning.meeting import Meeting


class InStep(Learners):
    """Sums over all learners; when one is gone, the run ends."""

    in_step = True
    _group: Any = None

    def meet(self, meeting: Meeting) -> None:
        super().meet(meeting)
        if not self.others:
            return
        meeting.gathered("ready")
        # Not the process group of `torch.distributed`: Lightning and torchmetrics would take that for one network's.
        options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=meeting.host)]
        options._timeout = timedelta(seconds=self.settings.patience)
        self._group = dist.ProcessGroupGloo(meeting.store, meeting.number, meeting.count, options)

    def begin(self, copy: Copy, fresh: bool) -> None:
        super().begin(copy, fresh)
        if self.others and fresh:
            weights = copy.read()
            options = dist.BroadcastOptions()
            options.rootRank, options.rootTensor = 0, 0
            self._wait_for(lambda group: group.broadcast([weights], options))
            copy.write(weights)

    def fewest(self, batches: int) -> int:
        if not self.others:
            return batches
        options, count = dist.AllreduceOptions(), torch.tensor([batches])
        options.reduceOp = dist.ReduceOp(dist.ReduceOp.MIN)
        self._wait_for(lambda group: group.allreduce([count], options))
        return int(count)

    def report(self) -> dict[str, float]:
        if not self.others:
            return super().report()
        samples = self._sum(torch.tensor([self.copy.samples()], dtype=torch.float64))
        return {
            "divergence": self._divergence(),
            "alive": float(self.settings.count),
            "samples": float(samples),
        }

    def leave(self) -> None:
        if self._group is not None:
            self._group.abort()  # whoever waits does so in vain, and says so at once
            self._group = None

    def _divergence(self) -> float:
        raise NotImplementedError

    def _mean_of_weights(self) -> tuple[Tensor, float]:
        """The mean of all learners' weights, and how far they are apart."""
        own = self.copy.read()
        mean = self._sum(own.clone()) / self.settings.count
        apart = torch.linalg.vector_norm(own - mean).reshape(1)
        return mean, float(self._sum(apart) / self.settings.count / torch.linalg.vector_norm(mean))

    def _sum(self, values: Tensor) -> Tensor:
        """Over all learners, in place."""
        self._wait_for(lambda group: group.allreduce([values], dist.AllreduceOptions()))
        return values

    def _wait_for(self, work: Callable[[Any], Any]) -> None:
        try:
            work(self._group).wait()
        except RuntimeError as error:
            kind = type(self).__name__.lower()
            raise OthersGone(
                f"learner {self.number} waited in vain for the others ({str(error).splitlines()[0]}): expected all "
                f"{self.settings.count}, as learners={kind} has it; why one is gone is in learners/NUMBER/log.txt of "
                "the run's folder. The same command goes on from the last epoch that all have; learners=gossip goes "
                "on without one"
            ) from error


class Synchronous(InStep):
    """One network: every step takes the mean of all gradients; buffers, such as running means, are averaged at an
    epoch's end.
    """

    settings: SynchronousSettings

    def gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the gradients of all parameters, whether or not this learner's batch has moved them; and of the
        rates, which may follow schedules of different lengths.
        """
        if not self.others:
            return
        groups = optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        rates = torch.tensor([float(group["lr"]) for group in groups], dtype=torch.float64)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        fill(gradients, self._sum(flatten(gradients)) / self.settings.count)
        for group, rate in zip(groups, (self._sum(rates) / self.settings.count).tolist(), strict=True):
            group["lr"] = rate

    def _divergence(self) -> float:
        mean, apart = self._mean_of_weights()
        self.copy.write(mean)
        return apart


class Averaging(InStep):
    """Local SGD: all weights become their mean after so many batches (McMahan et al., "Communication-efficient learning
    of deep networks from decentralized data", 2017; the optimizers' own state stays with each).
    """

    settings: AveragingSettings

    def __init__(self, settings: AveragingSettings) -> None:
        super().__init__(settings)
        self._apart: list[float] = []

    def exchange(self, batch: int) -> None:
        if self.others and batch % self.settings.every == 0:
            mean, apart = self._mean_of_weights()
            self.copy.write(mean)
            self._apart.append(apart)

    def _divergence(self) -> float:
        """Before the epoch's exchanges, on the mean: afterwards it is none."""
        apart, self._apart = self._apart or [self._mean_of_weights()[1]], []
        return sum(apart) / len(apart)

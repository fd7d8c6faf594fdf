"""How several learners of one run, each with a network and data of its own, keep together.

Two kinds: those in step, which wait for each other at every exchange, and those that are independent, which go on
without one that is gone. What is exchanged passes through the memory of the processor, float by float.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from visagent.config.learner_schemas import (
    ApartSettings,
    AveragingSettings,
    GossipSettings,
    LearnersSettings,
    ParameterServerSettings,
    SynchronousSettings,
)
from visagent.errors import ConfigError, OthersGone, UserError
from visagent.learning.exchange import divergence, elastic_difference, fill, flatten
from visagent.learning.peers import Gone, Peers
from visagent.seeding import derive_seed

START_SECONDS, LOOK_SECONDS = 900.0, 0.05
"""How long learners wait for each other to begin: each imports, reads its data, and may wait for a node's disk."""


class Copy:
    """A learner's own network.

    Args:
        tensors: what of it is exchanged, floating, alike in all learners.
        samples: how many it has learned from so far.
        steps_apart: whether its steps cannot be waited for, as the method takes them by itself: other threads are then
            given what was `kept` last.
    """

    def __init__(
        self, tensors: Callable[[], Sequence[Tensor]], samples: Callable[[], float], steps_apart: bool = False
    ) -> None:
        self.tensors, self.samples, self.moving = tensors, samples, threading.Lock()
        self._kept: Tensor | None = None
        if steps_apart:
            self.keep()

    def read(self) -> Tensor:
        """All weights, `[elements]`; for the learner itself."""
        return flatten(self.tensors())

    def read_still(self) -> Tensor:
        """All weights, between two steps of the learner; for other threads."""
        if self._kept is not None:
            return self._kept
        with self.moving:
            return self.read()

    def write(self, values: Tensor) -> None:
        """Take other weights."""
        with self.moving:
            fill(self.tensors(), values)
        if self._kept is not None:
            self.keep()

    def keep(self) -> None:
        """What other threads are given until this is called again."""
        self._kept = self.read()


class Learners:
    """What all have; `settings.count` is 1 where a learner is alone, which then exchanges nothing.

    `meet`, then `begin`; `fewest` before each epoch, `gradients` before a step, `exchange` after a batch, `report` at
    an epoch's end; `leave`.

    Args:
        settings: of the way to keep together.
    """

    in_step = False
    """Whether all take their steps together, and so must begin at the same epoch."""
    buffers = True
    """Whether buffers, such as running means, are exchanged, too."""
    number: int
    copy: Copy

    def __init__(self, settings: LearnersSettings) -> None:
        self.settings: Any = settings

    @property
    def others(self) -> bool:
        """Whether there are any."""
        return bool(self.settings.count > 1)

    def common_epoch(self, number: int, store: Store, mine: Iterable[int], check: Callable[[], None]) -> int:
        """The latest epoch at which all can begin.

        Args:
            number: of this learner.
            store: that all reach.
            mine: epochs at which this one can, beside 0.
            check: raises where it is no use to wait.

        Raises:
            ConfigError: when it is the beginning though a learner is further than its first epoch: nothing is lost
                without a word.
        """
        store.set(f"epochs/{number}", json.dumps(sorted({0, *mine})))
        there = [set(json.loads(each)) for each in self.awaited("epochs", store, check).values()]
        common = max(set.intersection(*there))
        if common == 0 and max(set.union(*there)) > 1:
            have = ", ".join(f"learner {each} {sorted(epochs - {0}) or 'none'}" for each, epochs in enumerate(there))
            raise ConfigError(
                f"expected checkpoints of an epoch that all learners have finished, got those of {have}; put back what "
                "is lacking in learners/NUMBER/checkpoints of the run's folder, or delete the folder to train the run "
                "anew"
            )
        return int(common)

    def awaited(self, what: str, store: Store, check: Callable[[], None]) -> dict[int, str]:
        """What all learners have put into the store.

        Raises:
            UserError: when one has not, after a long time.
        """
        deadline = time.monotonic() + START_SECONDS
        absent = list(range(self.settings.count))
        while absent := [number for number in absent if not store.check([f"{what}/{number}"])]:
            check()
            if time.monotonic() > deadline:
                raise UserError(
                    f"learners {', '.join(map(str, absent))} did not begin within {START_SECONDS:.0f} seconds; what "
                    "they say is in learners/NUMBER/log.txt of the run's folder"
                )
            time.sleep(LOOK_SECONDS)
        return {number: store.get(f"{what}/{number}").decode() for number in range(self.settings.count)}

    def meet(self, number: int, store: Store, check: Callable[[], None], host: str, key: str) -> None:
        """Find the others.

        Args:
            number: of this learner.
            store, check: see `common_epoch`.
            host: the address at which the others reach this one.
            key: that all learners of the run know and nobody else.
        """
        self.number = number

    def begin(self, copy: Copy, store: Store, check: Callable[[], None], fresh: bool) -> None:
        """Begin to learn; at the beginning of a run all take the weights of the first.

        Args:
            copy: this learner's network.
            store, check: see `common_epoch`.
            fresh: whether the run begins.
        """
        self.copy = copy

    def fewest(self, batches: int) -> int:
        """How many batches an epoch has, where this learner has data for so many: those in step take as many each."""
        return batches

    def gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step of the optimizer."""

    def exchange(self, batch: int) -> None:
        """After a batch.

        Args:
            batch: how many this learner has had, from 1.
        """

    def report(self) -> dict[str, float]:
        """At an epoch's end: `divergence` (see `visagent.learning.exchange.divergence`), how many learners are
        `alive`, and the `samples` of all together; of the first learner, whose record the run's is.
        """
        return {"divergence": 0.0, "alive": 1.0, "samples": self.copy.samples()}

    def answering(self) -> set[int] | None:
        """The others that answer; None where they are not asked."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What is the first learner's to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse of it."""

    def leave(self) -> None:
        """Exchange nothing any more."""


class InStep(Learners):
    """Sums over all learners; when one is gone, the run ends."""

    in_step = True
    _group: Any = None

    def meet(self, number: int, store: Store, check: Callable[[], None], host: str, key: str) -> None:
        super().meet(number, store, check, host, key)
        if not self.others:
            return
        store.set(f"ready/{number}", "")
        self.awaited("ready", store, check)
        # Not the process group of `torch.distributed`: Lightning and torchmetrics would take that for one network's.
        options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
        options._timeout = timedelta(seconds=self.settings.patience)
        self._group = dist.ProcessGroupGloo(store, number, self.settings.count, options)

    def begin(self, copy: Copy, store: Store, check: Callable[[], None], fresh: bool) -> None:
        super().begin(copy, store, check, fresh)
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
        """Of all parameters, whether or not this learner's batch has moved them; and of the rates, which may follow
        schedules of different lengths.
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


class Independent(Learners):
    """Learners that ask each other for their weights, and go on without one that does not answer."""

    settings: ApartSettings
    peers: Peers
    _apart: float | None = None

    def meet(self, number: int, store: Store, check: Callable[[], None], host: str, key: str) -> None:
        super().meet(number, store, check, host, key)
        self._here = host, key

    def begin(self, copy: Copy, store: Store, check: Callable[[], None], fresh: bool) -> None:
        super().begin(copy, store, check, fresh)
        if not self.others:
            return
        self._kind = copy.read().dtype
        host, key = self._here
        self.peers = Peers(self.number, host, key, self.settings.patience, self.answer)
        store.set(f"address/{self.number}", json.dumps(self.peers.address))
        known = self.awaited("address", store, check)
        self.peers.know({each: tuple(json.loads(address)) for each, address in known.items()})
        if fresh and self.number > 0:
            copy.write(self._vector(self._first_answer()))

    def _first_answer(self) -> bytes:
        """The first learner's weights, for which it may take its time."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.peers.ask(0, "/weights")
            except Gone as error:
                if time.monotonic() > deadline:
                    raise UserError(f"{error}: it did not begin within {START_SECONDS:.0f} seconds") from error
            time.sleep(LOOK_SECONDS)

    def exchange(self, batch: int) -> None:
        if self.others and batch % self.settings.every == 0:
            if self._apart is None and self.number == 0:
                self._apart = self._divergence()
            self.trade(batch)

    def trade(self, batch: int) -> None:
        """Exchange weights with another one."""
        raise NotImplementedError

    def answer(self, question: str, body: bytes) -> bytes:
        """To a question of another learner, in a thread of its own.

        Raises:
            ValueError: for a question that there is not.
        """
        if question == "/alive":
            return b""
        if question == "/samples":
            return str(self.copy.samples()).encode()
        if question == "/weights":
            return _bytes(self.copy.read_still())
        raise ValueError(f"no such question: {question}")

    def report(self) -> dict[str, float]:
        if not self.others:
            return super().report()
        there = [float(answer) for answer in self.peers.ask_all("/samples").values()]
        if self.number > 0:
            return {}
        apart, self._apart = self._divergence() if self._apart is None else self._apart, None
        return {"divergence": apart, "alive": 1.0 + len(there), "samples": self.copy.samples() + sum(there)}

    def _divergence(self) -> float:
        """Before the epoch's first exchange; of those that answer."""
        alive = sorted(self.peers.alive)
        there = [self._vector(answer) for answer in self.peers.ask_all("/weights", alive).values()]
        return divergence([self.copy.read(), *there])

    def answering(self) -> set[int] | None:
        return set(self.peers.ask_all("/alive", sorted(self.peers.alive))) if self._met() else set()

    def leave(self) -> None:
        if self._met():
            self.peers.close()

    def _met(self) -> bool:
        return hasattr(self, "peers")

    def _vector(self, received: bytes) -> Tensor:
        return torch.frombuffer(bytearray(received), dtype=self._kind)


class Gossip(Independent):
    """Each learner takes the mean of its weights and another's, drawn among those that answer (Jin et al., "How to
    scale distributed deep learning?", 2016, gossiping SGD by pulls).
    """

    settings: GossipSettings

    def trade(self, batch: int) -> None:
        rng = random.Random(derive_seed(self.number, "gossip", batch))
        while (other := self.peers.draw(rng)) is not None:
            try:
                theirs = self._vector(self.peers.ask(other, "/weights"))
            except Gone:
                continue
            self.copy.write((self.copy.read() + theirs) / 2)
            return


class ParameterServer(Independent):
    """Each learner is drawn to a centre, and the centre to it (Zhang, Choromanska and LeCun, "Deep learning with
    elastic averaging SGD", 2015, Algorithm 1, with alpha = beta / learners). The first learner keeps the centre.
    """

    settings: ParameterServerSettings
    buffers = False  # a centre that begins with statistics of nothing would draw all to those
    _centre: Tensor | None = None

    def __init__(self, settings: ParameterServerSettings) -> None:
        super().__init__(settings)
        self._changing = threading.Lock()

    def begin(self, copy: Copy, store: Store, check: Callable[[], None], fresh: bool) -> None:
        if self.number == 0 and self._centre is None:
            self._centre = copy.read()
        super().begin(copy, store, check, fresh)

    def trade(self, batch: int) -> None:
        own = self.copy.read()
        if self.number == 0:
            moved = self._drawn(own)
        else:
            try:
                moved = self._vector(self.peers.ask(0, "/centre", _bytes(own)))
            except Gone:
                return  # with the next exchange
        self.copy.write(own - moved)

    def answer(self, question: str, body: bytes) -> bytes:
        return _bytes(self._drawn(self._vector(body))) if question == "/centre" else super().answer(question, body)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.number > 0 or self._centre is None else {"centre": self._centre}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._centre = state.get("centre")

    def _drawn(self, own: Tensor) -> Tensor:
        """Draw the centre to a learner.

        Returns:
            what the learner gives up.
        """
        assert self._centre is not None
        with self._changing:
            moved = elastic_difference(own, self._centre, self.settings.pull / self.settings.count)
            self._centre = self._centre + moved
        return moved


def _bytes(values: Tensor) -> bytes:
    return values.contiguous().numpy().tobytes()

"""Learners that ask each other for their weights, each at its own pace: gossip, and a centre that draws all."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import Any

import torch
from torch import Tensor

from visagent.config.learner_schemas import ApartSettings, GossipSettings, ParameterServerSettings
from visagent.errors import UserError
from visagent.learning.exchange import divergence, elastic_difference
from visagent.learning.learners import Copy, Learners
from visagent.learning.meeting import LOOK_SECONDS, START_SECONDS
from visagent.learning.peers import Gone, Peers
from visagent.seeding import derive_seed


class Independent(Learners):
    """Learners that ask each other for their weights, and go on without one that does not answer."""

    settings: ApartSettings
    peers: Peers
    _apart: float | None = None

    def begin(self, copy: Copy, fresh: bool) -> None:
        super().begin(copy, fresh)
        if not self.others:
            return
        self._kind, here = copy.read().dtype, self.meeting
        self.peers = Peers(here.number, here.host, here.key, self.settings.patience, self.answer)
        known = here.gathered("address", json.dumps(self.peers.address))
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
        """Answer a question of another learner, in a thread of its own.

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

    def begin(self, copy: Copy, fresh: bool) -> None:
        if self.number == 0 and self._centre is None:
            self._centre = copy.read()
        super().begin(copy, fresh)

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

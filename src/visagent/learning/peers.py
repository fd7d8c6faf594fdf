"""Learners that ask each other for what they have: each answers over HTTP, whatever it is doing, and one that does not
answer in time is left out.

There is no group whose members are fixed, which the death of one would end (`torch.distributed` has no other): a
learner knows where the others are, and asks those that still answer.
"""

from __future__ import annotations

import hmac
import http.client
import logging
import random
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

log = logging.getLogger(__name__)
Answer = Callable[[str, bytes], bytes]
"""From a question, which is a path such as `/weights`, and what comes with it, to the answer."""
LARGEST_BYTES = 1 << 34
"""Of what may come with a question."""


class Gone(Exception):
    """A learner did not answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    wbufsize = -1  # an answer's head and body go out together
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if not hmac.compare_digest(self.headers.get("Authorization", ""), self.server.key) or size > LARGEST_BYTES:
            self.send_error(403)
            self.close_connection = True
            return
        answer = self.server.answer(self.path, self.rfile.read(size))
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the console is the run's."""


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self, host: str, key: str, answer: Answer) -> None:
        super().__init__((host, 0), _Handler)
        self.key, self.answer = key, answer
        self._connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close open connections too, which have threads of their own."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("a question of %s was not answered", client_address, exc_info=True)


class Peers:
    """The other learners, as one of them knows them.

    Args:
        number: of this one.
        host: the address at which the others reach this one.
        key: that all learners of the run know and nobody else.
        patience: seconds to wait for an answer.
        answer: answers questions of the others, in threads of its own.
    """

    def __init__(self, number: int, host: str, key: str, patience: float, answer: Answer) -> None:
        self.number, self.patience, self._key = number, patience, key
        self._server = _Server(host, key, answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="answers", daemon=True)
        self._thread.start()
        self.address = (host, int(self._server.server_address[1]))
        self._addresses: dict[int, tuple[str, int]] = {}
        self._open: dict[int, http.client.HTTPConnection] = {}
        self.alive: set[int] = set()

    def know(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        """Where the others are."""
        self._addresses = {number: address for number, address in addresses.items() if number != self.number}
        self.alive = set(self._addresses)

    def ask(self, number: int, question: str, body: bytes = b"") -> bytes:
        """What another learner answers; from then on it counts as gone, or alive again.

        Raises:
            Gone: when it does not answer.
        """
        try:
            answer = self._asked(number, question, body)
        except (OSError, http.client.HTTPException) as error:
            self._close(number)
            if number in self.alive:
                self.alive.discard(number)
                log.warning("learner %d does not answer learner %d (%s): it is left out", number, self.number, error)
            raise Gone(f"learner {number}: {error}") from error
        if number not in self.alive:
            self.alive.add(number)
            log.warning("learner %d answers again", number)
        return answer

    def ask_all(self, question: str, numbers: Iterable[int] | None = None) -> dict[int, bytes]:
        """The answers of those that answer.

        Args:
            question: see `Answer`.
            numbers: whom to ask; None for all, those among them that did not answer the last time.
        """
        answers = {}
        for number in self._addresses if numbers is None else numbers:
            try:
                answers[number] = self.ask(number, question)
            except Gone:
                continue
        return answers

    def draw(self, rng: random.Random) -> int | None:
        """A learner that answered when it was last asked; None where there is none."""
        return rng.choice(sorted(self.alive)) if self.alive else None

    def close(self) -> None:
        """Neither ask nor answer any more."""
        for number in list(self._open):
            self._close(number)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _asked(self, number: int, question: str, body: bytes) -> bytes:
        if number not in self._open:
            self._open[number] = http.client.HTTPConnection(*self._addresses[number], timeout=self.patience)
        connection = self._open[number]
        connection.request("POST", question, body, {"Authorization": self._key})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"it answers {response.status}")
        return answer

    def _close(self, number: int) -> None:
        connection = self._open.pop(number, None)
        if connection is not None:
            connection.close()

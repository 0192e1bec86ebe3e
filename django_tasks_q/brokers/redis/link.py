"""How calls find their server: one Redis (perhaps the master that sentinels name), or a cluster (see cluster.py)."""

from __future__ import annotations

import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec
from redis.exceptions import AskError, NoScriptError

from ...errors import BrokerError, ConnectionFailed
from ...redis_trouble import refusal
from .endpoint import Endpoint, is_too_late
from .packing import pack_call, pack_command
from .scripts import Script

PATIENCE = 1.0
"""Seconds for which a call that certainly did not happen is tried again."""


class Call(msgspec.Struct, frozen=True):
    """One run of a script. ``keys`` are packed already; ``slot_key`` is of their slot, by which the node is found."""

    script: Script
    slot_key: bytes
    keys: bytes
    number: int
    args: Sequence[bytes] = ()

    def packed(self) -> bytes:
        return pack_call(b"EVALSHA", self.script.digest, self.keys, self.number, self.args)

    def packed_whole(self) -> bytes:
        """With the source, which Redis keeps from then on."""
        return pack_call(b"EVAL", self.script.source, self.keys, self.number, self.args)


class Link(ABC):
    """What a broker says to Redis goes through here. Any thread may use it.

    Every call raises :class:`ConnectionFailed` when it certainly did not happen, :class:`ConnectionClosed` when nobody
    knows, and BrokerError for what Redis refuses for good.

    Parameters:
        timeout: seconds for which a call that did not happen may be tried again, read at each call.
    """

    is_cluster = False
    publish, subscribe = b"publish", "SUBSCRIBE"
    address = ""

    def __init__(self, timeout: Callable[[], float]) -> None:
        self._timeout = timeout

    def call(self, call: Call) -> Any:
        """The answer of a script."""
        return self._patiently(lambda: self._evaluate(call))

    def call_and(self, call: Call, *commands: bytes) -> list[Any]:
        """The answer of a script, and those to packed commands that follow it on the same connection."""
        replies: list[Any] = self._patiently(lambda: self._evaluate_and(call, commands))
        return replies

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """The answers of many scripts, of which none depends on another; a server gets all of its own in one go.

        An answer that failed is its error, in its place.
        """
        answers: list[Any] = [None] * len(calls)
        for endpoint, positions in self._by_server(calls, answers).items():
            try:
                replies = endpoint.ask(b"".join([calls[at].packed() for at in positions]), len(positions))
            except ConnectionFailed:
                replies = self._one_by_one([calls[at] for at in positions])
            except BrokerError as error:
                replies = [error] * len(positions)
            for at, reply in zip(positions, replies, strict=True):
                answers[at] = self._followed_up(calls[at], reply)
        return answers

    def _one_by_one(self, calls: Sequence[Call]) -> list[Any]:
        """The first one patiently; when its server stays away, the others are not tried."""
        answers: list[Any] = []
        for call in calls:
            is_away = bool(answers) and isinstance(answers[-1], ConnectionFailed)
            answers.append(answers[-1] if is_away else self._caught(call))
        return answers

    def _by_server(self, calls: Sequence[Call], answers: list[Any]) -> dict[Endpoint, list[int]]:
        by_server: dict[Endpoint, list[int]] = {}
        for at, call in enumerate(calls):
            try:
                by_server.setdefault(self.endpoint_for(call.slot_key), []).append(at)
            except BrokerError as error:
                answers[at] = error
        return by_server

    def _followed_up(self, call: Call, reply: Any) -> Any:
        if isinstance(reply, NoScriptError | AskError):  # it has not happened
            return self._caught(call)
        if isinstance(reply, Exception) and not isinstance(reply, BrokerError):
            return refusal(reply, self.address)
        return reply

    def _caught(self, call: Call) -> Any:
        try:
            return self.call(call)
        except BrokerError as error:
            return error

    def command(self, slot_key: bytes, *parts: bytes) -> Any:
        """The reply to a plain command."""
        return self._patiently(lambda: self._send(slot_key, pack_command(*parts)))

    def _evaluate(self, call: Call) -> Any:
        reply = self._ask(call.slot_key, call.packed())
        if isinstance(reply, NoScriptError):
            reply = self._ask(call.slot_key, call.packed_whole())
        return self._checked(reply)

    def _evaluate_and(self, call: Call, commands: Sequence[bytes]) -> list[Any]:
        endpoint, tail = self.endpoint_for(call.slot_key), b"".join(commands)
        replies = endpoint.ask(call.packed() + tail, 1 + len(commands))
        if isinstance(replies[0], NoScriptError):
            replies = endpoint.ask(call.packed_whole() + tail, 1 + len(commands))
        return [self._checked(reply) for reply in replies]

    def _send(self, slot_key: bytes, packed: bytes) -> Any:
        return self._checked(self._ask(slot_key, packed))

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise refusal(reply, self.address) from reply
        return reply

    def _patiently(self, action: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + min(PATIENCE, self._timeout())
        pause = 0.01
        while True:
            try:
                return action()
            except ConnectionFailed:
                pause = min(pause * 2, 0.2) * random.uniform(0.5, 1)
                if time.monotonic() + pause > deadline or is_too_late(pause):
                    raise
                self.look_around()
                time.sleep(pause)

    def look_around(self) -> None:
        """Before something is tried again: things may have moved."""

    @abstractmethod
    def _ask(self, slot_key: bytes, packed: bytes) -> Any:
        """The reply to one packed command, an error reply included."""

    @abstractmethod
    def endpoints(self) -> list[Endpoint]:
        """All servers that hold data."""

    @abstractmethod
    def endpoint_for(self, slot_key: bytes) -> Endpoint:
        """The server that a key is kept by."""

    def close(self) -> None:
        for endpoint in self.endpoints():
            endpoint.close()


class SingleLink(Link):
    """One server. Parameters: it, and see :class:`Link`."""

    def __init__(self, endpoint: Endpoint, timeout: Callable[[], float]) -> None:
        super().__init__(timeout)
        self._endpoint = endpoint
        self.address = endpoint.address

    def _ask(self, slot_key: bytes, packed: bytes) -> Any:
        return self._endpoint.ask(packed, 1)[0]

    def endpoints(self) -> list[Endpoint]:
        return [self._endpoint]

    def endpoint_for(self, slot_key: bytes) -> Endpoint:
        return self._endpoint


def connector(
    connection_class: type, options: Mapping[str, Any], timeout: Callable[[], float]
) -> Callable[[float], Any]:
    """Makes connections that answer in bytes and never wait for ever, whatever else the options say.

    It is told the most seconds that one may wait. TypeError for an option that the client library does not know.
    """
    kept = {name: value for name, value in options.items() if value is not None and not name.startswith(_UNWANTED)}
    if "path" not in kept:
        kept = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE, **kept}

    def connect(most: float) -> Any:
        longest = min(timeout(), most)
        bounds = {name: min(longest, kept.get(name) or longest) for name in _TIMEOUTS}
        return connection_class(**{**kept, **bounds, "decode_responses": False, "protocol": 2})

    connect(inf)  # made and not opened, for its complaints
    return connect


_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")

_UNWANTED = ("retry", "health_check_interval", "maint_", "oss_cluster_maint", "orig_")
"""Options of the client library's connections that would repeat calls behind our back, or listen to what we do not."""

_KEEPALIVE = {
    getattr(socket, name): seconds
    for name, seconds in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""Half a minute after the other side has vanished, a worker that waits for it is told."""

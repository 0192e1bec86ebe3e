"""What results need of a store: its meaning, no storage."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import clock
from ..backends import FromSettings
from ..deliveries import Result
from ..encoder import Encoder
from ..errors import ResultFailure, ResultMissing, ResultTimeout
from ..message import MAX_ID_LENGTH, Message, get_encoder
from ..outcomes import ErrorInfo
from .result import Missing, pack_failure, pack_value, unpack

DEFAULT_TIMEOUT = 10_000
"""Milliseconds that a reader waits who does not say how long."""

DEFAULT_TTL = 600_000
"""Milliseconds that a result is kept where nobody says how long."""

LONGEST_TTL = 100 * 365 * 86_400_000
"""A hundred years, which no store's clock overflows with."""

MAX_KEY_LENGTH = 160
_NO_LIMIT = 1 << 62
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


class ResultBackend(ABC):
    """Keeps results until they expire, by the store's own clock. Reading one takes nothing away.

    Making one opens no connection. Every call raises a BrokerError when the store cannot be reached.

    Parameters:
        namespace: what the keys begin with, so that projects may share a store.
        encoder: turns results into bytes; the process's when not given.
    """

    def __init__(self, *, namespace: str = "dtq-results", encoder: Encoder | None = None) -> None:
        if not 0 < len(namespace) < MAX_KEY_LENGTH - MAX_ID_LENGTH or not namespace.isprintable():
            longest = MAX_KEY_LENGTH - MAX_ID_LENGTH - 1
            raise ValueError(f"A namespace has 1 to {longest} printable characters: {namespace!r:.120}")
        self.namespace = namespace
        self._encoder = encoder

    @property
    def encoder(self) -> Encoder:
        return self._encoder or get_encoder()

    @property
    @abstractmethod
    def address(self) -> str:
        """What to show people; never with a password."""

    # What a store has to do

    @abstractmethod
    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        """Keep these, in one round trip. Without ``replace`` those stay as they are that are there already."""

    @abstractmethod
    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """What is there of these keys, in one round trip."""

    @abstractmethod
    def wait(self, key: str, timeout: float) -> bytes | None:
        """What is there, or comes within ``timeout`` seconds."""

    @abstractmethod
    def remove(self, keys: Sequence[str]) -> None:
        """Forget these."""

    def prune(self, limit: int) -> int:
        """Drop up to ``limit`` results that have expired, for stores that do not do so themselves; how many."""
        return 0

    def release_thread(self) -> None:
        """This thread will not ask again: close what is open on its account."""

    # What people ask

    def build_message_key(self, message: Message[Any]) -> str:
        """Where the result of a message is."""
        return self.key_of(message.message_id)

    def key_of(self, message_id: str) -> str:
        return f"{self.namespace}:{message_id}"

    def store_result(self, message: Message[Any], result: Any, ttl: int = DEFAULT_TTL) -> None:
        """Keep ``result`` for ``ttl`` milliseconds. EncodeError with the path of what cannot be encoded."""
        payload = pack_value(self.encoder, result, _NO_LIMIT)
        self.store([self.kept(self.build_message_key(message), payload, ttl)])

    def store_exception(self, message: Message[Any], exception: BaseException, ttl: int = DEFAULT_TTL) -> None:
        """Keep what ended a message: whoever asks for its result gets a ResultFailure."""
        payload = pack_failure(self.encoder, ErrorInfo.of(exception))
        self.store([self.kept(self.build_message_key(message), payload, ttl)])

    def kept(self, key: str, payload: bytes, ttl: int) -> Result:
        """What is to be stored, for a hundred years at most."""
        return Result(key, payload, min(max(1, ttl), LONGEST_TTL))

    def get_result(self, message: Message[Any], *, block: bool = False, timeout: int | None = None) -> Any:
        """What a message returned; see :meth:`Message.get_result`."""
        key = self.build_message_key(message)
        if block:
            payload = self.wait(key, _seconds(timeout))
            if payload is None:
                raise ResultTimeout(f"{message.actor_name} ({message.message_id}) has no result yet.")
        else:
            payload = self.load([key]).get(key)
            if payload is None:
                raise ResultMissing(f"{message.actor_name} ({message.message_id}) has no result.")
        return unpack(self.encoder, payload)

    async def aget_result(self, message: Message[Any], *, block: bool = False, timeout: int | None = None) -> Any:
        """:meth:`get_result` from async code. It looks again and again, so that no thread is held by who waits."""
        from asgiref.sync import sync_to_async

        look = sync_to_async(self.get_result, thread_sensitive=True)
        until = clock.monotonic() + _seconds(timeout)
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return await look(message)
            except ResultMissing:
                if not block:
                    raise
            left = until - clock.monotonic()
            if left <= 0:
                raise ResultTimeout(f"{message.actor_name} ({message.message_id}) has no result yet.")
            await asyncio.sleep(min(pause, left))
            pause = min(_LONGEST_PAUSE, pause * 2)

    def peek(self, messages: Iterable[Message[Any]]) -> list[Any]:
        """The results of many messages in one round trip: a value, a ResultFailure or :data:`Missing` for each."""
        keys = [self.build_message_key(message) for message in messages]
        found = self.load(keys) if keys else {}
        return [self._peeked(found.get(key)) for key in keys]

    def _peeked(self, payload: bytes | None) -> Any:
        if payload is None:
            return Missing
        try:
            return unpack(self.encoder, payload)
        except ResultFailure as failure:
            return failure

    def forget(self, *messages: Message[Any]) -> None:
        """Drop the results of these messages before they expire."""
        if messages:
            self.remove([self.build_message_key(message) for message in messages])


def _seconds(timeout: int | None) -> float:
    return (DEFAULT_TIMEOUT if timeout is None else max(0, timeout)) / 1000


get_result_backend: FromSettings[ResultBackend] = FromSettings()
"""The backend of ``RESULTS_URL``, else the one that fits the broker. RuntimeError without Django."""

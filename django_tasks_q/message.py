"""The message: what ``send()`` makes, what a broker carries, what an actor is called with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from . import clock, stamps
from .encoder import Encoder, JSONEncoder
from .errors import DecodeError, UnsupportedVersion

if TYPE_CHECKING:
    from .progress import Progress

R = TypeVar("R")

VERSION = 1
"""Of the wire form. It is written (``options["message_version"]``) only once it is no longer 1."""

MAX_ID_LENGTH = 64

_FIELDS = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": int,
}
"""Of the wire form; arguments may be a tuple as well."""

_KINDS = tuple(_FIELDS.values())
_fields_of = itemgetter(*_FIELDS)

_encoder: Encoder = JSONEncoder()


def get_encoder() -> Encoder:
    """The encoder of this process."""
    return _encoder


def set_encoder(encoder: Encoder) -> None:
    """Encode and decode all messages of this process with ``encoder``."""
    global _encoder
    _encoder = encoder


def generate_unique_id() -> str:
    """A new id: UUID version 7 (RFC 9562), so that ids sort by time and indexes grow at one end."""
    ms = time.time_ns() // 1_000_000
    noise = os.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{noise[:3]}-{variant}{noise[4:7]}-{noise[7:19]}"


class Message(msgspec.Struct, Generic[R], frozen=True):
    """One call of an actor, as data.

    Parameters:
        queue_name: the queue it travels through.
        actor_name: the actor that it calls.
        args: positional arguments; any sequence, kept as a tuple.
        kwargs: keyword arguments.
        options: what middleware and the engine read (``max_retries``, ``eta``, ``message_id`` of the caller, …).
        message_id: the engine's id, the same over delay, retries, redelivery and requeue; at most 64 characters.
        message_timestamp: when it was made, epoch milliseconds.
        unknown: fields of the wire form that a newer release added; they survive a retry by this one.
    """

    queue_name: str
    actor_name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    message_id: str = msgspec.field(default_factory=generate_unique_id)
    message_timestamp: int = msgspec.field(default_factory=clock.wall_ms)
    unknown: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if type(self.args) is not tuple:
            msgspec.structs.force_setattr(self, "args", tuple(self.args))

    def __str__(self) -> str:
        arguments = [repr(arg) for arg in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.actor_name}({', '.join(arguments)})"

    @property
    def message_datetime(self) -> datetime:
        """When it was made, as an aware datetime."""
        return clock.as_datetime(self.message_timestamp)

    def asdict(self) -> dict[str, Any]:
        """The wire form as a dict; it shares ``kwargs`` and ``options`` with the message."""
        wire = {
            "queue_name": self.queue_name,
            "actor_name": self.actor_name,
            "args": self.args,
            "kwargs": self.kwargs,
            "options": self.options,
            "message_id": self.message_id,
            "message_timestamp": self.message_timestamp,
        }
        return {**wire, **self.unknown} if self.unknown else wire

    def encode(self) -> bytes:
        """The message as bytes. Raises :class:`EncodeError` naming the path of what cannot be encoded."""
        return _encoder.encode(self.asdict())

    @classmethod
    def decode(cls, data: bytes) -> Message[Any]:
        """The message in ``data``. Raises :class:`DecodeError` whatever is wrong with it."""
        try:
            wire = _encoder.decode(data)
        except DecodeError:
            raise
        except Exception as error:  # the encoder may be the project's own
            raise DecodeError(f"The encoder failed: {type(error).__name__}: {error}", data, error) from error
        return cls.from_dict(wire, data)

    @classmethod
    def from_dict(cls, wire: dict[str, Any], data: bytes = b"") -> Message[Any]:
        """The message of a wire form. Raises :class:`DecodeError` when a field is missing or of a wrong type."""
        try:
            values = _fields_of(wire)
        except KeyError as error:
            raise DecodeError(f"Not a message: {error}", data, error) from error
        if tuple(map(type, values)) != _KINDS:
            for (name, kind), value in zip(_FIELDS.items(), values, strict=True):
                if type(value) is not kind and not (kind is list and type(value) is tuple):
                    raise DecodeError(f"Not a message: {name} is a {type(value).__name__}.", data)
        unknown = {} if len(wire) == len(_FIELDS) else {name: wire[name] for name in wire if name not in _FIELDS}
        queue_name, actor_name, args, kwargs, options, message_id, timestamp = values
        message = cls(queue_name, actor_name, tuple(args), kwargs, options, message_id, timestamp, unknown)
        version = options.get("message_version", VERSION)
        if version != VERSION:
            if type(version) is not int:
                raise DecodeError(f"Not a message: its version is {version!r:.40}.", data)
            if version > VERSION:
                raise UnsupportedVersion(f"Version {version} is newer than {VERSION}.", data)
        return message

    @classmethod
    def fetch(cls, message_id: str) -> Message[Any] | None:
        """The message of this id; None when nobody knows it.

        As long as it is not finished, or is a dead letter, it comes from the broker, whole. After that it comes from
        its record, with the arguments that are recorded. RuntimeError without Django; raises BrokerConnectionError.
        """
        return _lookup().fetch(message_id)

    def record(self) -> Any:
        """What is recorded of the message: a ``MessageRecord``; None when there is none. Errors as :meth:`fetch`."""
        return _lookup().record(self.message_id)

    def get_progress(self) -> Progress | None:
        """How far the message is, as its actor says with ``set_progress()``, and was when it ended.

        None when its latest attempt has not said anything, or nothing is recorded of it. Errors as :meth:`fetch`.
        """
        return _lookup().progress(self.message_id)

    async def aget_progress(self) -> Progress | None:
        """:meth:`get_progress` from async code, without blocking the event loop."""
        return await _lookup().aprogress(self.message_id)

    def get_result(self, *, backend: Any = None, block: bool = False, timeout: int | None = None) -> R:
        """What the actor returned; as often as one likes, until it expires.

        Parameters:
            backend: where to look; the process's broker knows when not given.
            block: wait for it.
            timeout: milliseconds to wait at most; 10,000 when not given.

        Raises:
            ResultMissing: there is none, or none yet.
            ResultTimeout: there was none within the time.
            ResultFailure: the message failed for good.
            BrokerConnectionError: the store of results cannot be reached.
            RuntimeError: the broker has no ``Results`` in its middleware.
        """
        result: R = _results().get_result(self, backend=backend, block=block, timeout=timeout)
        return result

    async def aget_result(self, *, backend: Any = None, block: bool = False, timeout: int | None = None) -> R:
        """:meth:`get_result` from async code, without blocking the event loop."""
        result: R = await _results().aget_result(self, backend=backend, block=block, timeout=timeout)
        return result

    def copy(self, **attributes: Any) -> Message[R]:
        """A copy with other attributes; ``options`` are merged into the present ones."""
        if "options" in attributes:
            attributes["options"] = {**self.options, **attributes["options"]}
        return msgspec.structs.replace(self, **attributes)

    @property
    def stamps(self) -> Mapping[str, list[str]]:
        """The values of each of its stamps, as canonical text; what it inherits is there once it is sent."""
        return stamps.of_options(self.options)

    def stamp(self, more: Mapping[str, Any] | None = None, /, **named: Any) -> Message[R]:
        """A copy with more stamps: ``message.stamp(batch_id=42)``. ValueError as of :func:`stamps.read`."""
        together = stamps.united(self.stamps, stamps.read({**(more or {}), **named}))
        return self.copy(options={stamps.OPTION: together})

    def __or__(self, other: Any) -> Any:
        """``a | b`` is a pipeline; the composition room says how."""
        if _join is None:
            return NotImplemented
        return _join(self, other)


_join: Callable[[Any, Any], Any] | None = None


def set_join(join: Callable[[Any, Any], Any]) -> None:
    """Say what ``message | other`` makes."""
    global _join
    _join = join


class ResultReader(Protocol):
    """Who finds results."""

    def get_result(self, message: Message[Any], *, backend: Any, block: bool, timeout: int | None) -> Any: ...

    async def aget_result(self, message: Message[Any], *, backend: Any, block: bool, timeout: int | None) -> Any: ...


_reader: ResultReader | None = None


def set_result_reader(reader: ResultReader) -> None:
    """Say who finds results; the results room does."""
    global _reader
    _reader = reader


def _results() -> ResultReader:
    if _reader is None:
        raise RuntimeError("Nobody here finds results: import django_tasks_q.results.")
    return _reader


class Lookup(Protocol):
    """Where messages are looked up."""

    def fetch(self, message_id: str) -> Message[Any] | None: ...

    def record(self, message_id: str) -> Any: ...

    def progress(self, message_id: str) -> Progress | None: ...

    async def aprogress(self, message_id: str) -> Progress | None: ...


_found_by: Lookup | None = None


def set_lookup(lookup: Lookup) -> None:
    """Say where messages are looked up; the Django floor does."""
    global _found_by
    _found_by = lookup


def _lookup() -> Lookup:
    if _found_by is None:
        raise RuntimeError("Messages are looked up in Django's databases: put 'django_tasks_q' in INSTALLED_APPS.")
    return _found_by

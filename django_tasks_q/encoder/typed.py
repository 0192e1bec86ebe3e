"""JSON that also carries the value types of Python that Django's people send: dates, numbers, ids, bytes, sets."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ..errors import DecodeError
from .strict import MAX_DEPTH, JSONEncoder

TAG = "__type__"
"""The key that makes a JSON object a value of another type; a dict that has it itself is tagged as well."""

_VALUE = "value"


class TypedJSONEncoder(JSONEncoder):
    """As :class:`JSONEncoder`, and ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID``, ``bytes``,
    ``set`` and ``frozenset`` come back as what they were.

    Each is an object on the wire: ``{"__type__": "uuid", "value": "…"}``. A datetime or time keeps the name of its
    ``zoneinfo`` zone, and which of two equal hours it means; another kind of zone (pytz) comes back as its offset.
    Subclasses are refused, because they would come back as something else. A tuple stays one in a set.
    """

    def encode(self, data: dict[str, Any]) -> bytes:
        return super().encode(_tagged(data, MAX_DEPTH))

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            decoded = _untagged(super().decode(data))
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"A typed value cannot be read: {type(error).__name__}: {error}", data, error) from error
        if type(decoded) is not dict:
            raise DecodeError(f"Expected a JSON object, found {type(decoded).__name__}.", data)
        return decoded


def _tagged(value: Any, depth: int) -> Any:
    """The value with others in the place of what JSON has no form for; what nobody knows is left to be refused."""
    kind = type(value)
    if depth <= 0:
        return value
    if kind is dict:
        plain = {key: _tagged(item, depth - 1) for key, item in value.items()}
        return {TAG: "dict", _VALUE: plain} if TAG in plain else plain
    if kind is list or kind is tuple:
        return [_tagged(item, depth - 1) for item in value]
    if kind in _COLLECTIONS:
        return {TAG: kind.__name__, _VALUE: [_tagged_member(item, depth - 1) for item in value]}
    known = _WRITERS.get(kind)
    return value if known is None else {TAG: kind.__name__.lower(), **known(value)}


def _tagged_member(value: Any, depth: int) -> Any:
    """What is in a set: a tuple stays one there, because a list could not be in it."""
    if type(value) is tuple and depth > 0:
        return {TAG: "tuple", _VALUE: [_tagged_member(item, depth - 1) for item in value]}
    return _tagged(value, depth)


def _untagged(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_untagged(item) for item in value]
    if kind is not dict:
        return value
    if TAG not in value:
        return {key: _untagged(item) for key, item in value.items()}
    name = value[TAG]
    if name == "dict":
        return {key: _untagged(item) for key, item in value[_VALUE].items()}
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(f"no type is called {name!r:.40} here")
    return reader(value)


def _write_moment(value: datetime | time) -> dict[str, Any]:
    """A named zone by its name; a time of day in one has no offset that could stand for it."""
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    wire: dict[str, Any] = {_VALUE: (value if zone is None else value.replace(tzinfo=None)).isoformat()}
    if zone is not None:
        wire["zone"] = zone
    if value.fold:
        wire["fold"] = value.fold
    return wire


def _read_moment(value: Any, wire: dict[str, Any]) -> Any:
    if "zone" in wire:
        value = value.replace(tzinfo=ZoneInfo(wire["zone"]))
    return value.replace(fold=wire["fold"]) if "fold" in wire else value


def _read_timedelta(wire: dict[str, Any]) -> timedelta:
    days, seconds, microseconds = wire[_VALUE]
    return timedelta(days, seconds, microseconds)


_COLLECTIONS = frozenset({set, frozenset})

_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    datetime: _write_moment,
    date: lambda value: {_VALUE: value.isoformat()},
    time: _write_moment,
    timedelta: lambda value: {_VALUE: [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {_VALUE: str(value)},
    UUID: lambda value: {_VALUE: str(value)},
    bytes: lambda value: {_VALUE: base64.b64encode(value).decode("ascii")},
}

_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "datetime": lambda wire: _read_moment(datetime.fromisoformat(wire[_VALUE]), wire),
    "date": lambda wire: date.fromisoformat(wire[_VALUE]),
    "time": lambda wire: _read_moment(time.fromisoformat(wire[_VALUE]), wire),
    "timedelta": _read_timedelta,
    "decimal": lambda wire: Decimal(wire[_VALUE]),
    "uuid": lambda wire: UUID(wire[_VALUE]),
    "bytes": lambda wire: base64.b64decode(wire[_VALUE], validate=True),
    "tuple": lambda wire: tuple(_untagged(item) for item in wire[_VALUE]),
    "set": lambda wire: {_untagged(item) for item in wire[_VALUE]},
    "frozenset": lambda wire: frozenset(_untagged(item) for item in wire[_VALUE]),
}

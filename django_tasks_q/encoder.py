"""Messages as bytes: strict JSON by default, pickle for those who ask for it.

JSON here is exactly what comes back: what would silently change on the way (a key that is no text,
``NaN``, a date, bytes) is refused at ``send()`` with the path of the culprit. Tuples become lists,
which is documented and is the one exception.
"""

from __future__ import annotations

import json
import math
import pickle
from abc import ABC, abstractmethod
from typing import Any

import msgspec

from .errors import DecodeError, EncodeError, MessageTooLarge

MAX_DEPTH = 200
"""Nesting that the default encoder accepts. Far below what would exhaust the stack of a decoder."""

_HINTS = {
    "datetime": "send value.isoformat()",
    "date": "send value.isoformat()",
    "Decimal": "send str(value)",
    "UUID": "send str(value)",
    "QuerySet": "send list(value.values_list('pk', flat=True))",
    "bytes": "send base64.b64encode(value).decode()",
    "set": "send sorted(value)",
    "frozenset": "send sorted(value)",
    "__proxy__": "send str(value)",
}


class Encoder(ABC):
    """Turns the dict of a message into bytes and back.

    ``encode`` raises :class:`EncodeError`, ``decode`` raises :class:`DecodeError`.
    """

    @abstractmethod
    def encode(self, data: dict[str, Any]) -> bytes: ...

    @abstractmethod
    def decode(self, data: bytes) -> dict[str, Any]: ...


class JSONEncoder(Encoder):
    """Strict JSON (RFC 8259) in UTF-8."""

    def encode(self, data: dict[str, Any]) -> bytes:
        if not _is_plain(data, MAX_DEPTH):
            raise _explain(data)
        try:
            return msgspec.json.encode(data)
        except UnicodeEncodeError:
            # A lone surrogate has no UTF-8. The escaped form carries it through every broker unharmed.
            return json.dumps(data, separators=(",", ":"), allow_nan=False).encode("ascii")

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            decoded = msgspec.json.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            decoded = self._decode_slowly(data, error)
        if type(decoded) is not dict:
            raise DecodeError(f"Expected a JSON object, found {type(decoded).__name__}.", data)
        return decoded

    def _decode_slowly(self, data: bytes, first: Exception) -> Any:
        """Escaped lone surrogates, which msgspec refuses; anything else fails here as well."""
        try:
            return json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"Not JSON: {first}", data, error) from error


class PickleEncoder(Encoder):
    """Any Python object. Whoever can write to the broker can then run code in the worker: a check warns."""

    def encode(self, data: dict[str, Any]) -> bytes:
        try:
            return pickle.dumps(data)
        except Exception as error:
            raise EncodeError(f"Cannot be pickled: {error}") from error

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            decoded = pickle.loads(data)
        except Exception as error:
            raise DecodeError(f"Not a pickle: {error}", data, error) from error
        if type(decoded) is not dict:
            raise DecodeError(f"Expected a pickled dict, found {type(decoded).__name__}.", data)
        return decoded


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_PLAIN_LEAVES = frozenset({str, int, bool, type(None)})


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value survives JSON unchanged. The hot path of every send: types by identity, no paths."""
    kind = type(value)
    if kind in _PLAIN_LEAVES:
        return True
    if kind is float:
        return math.isfinite(value)
    if depth <= 0:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (type(item) in _PLAIN_LEAVES or _is_plain(item, depth - 1)):
                return False
        return True
    if kind is list or kind is tuple:
        for item in value:
            if not (type(item) in _PLAIN_LEAVES or _is_plain(item, depth - 1)):
                return False
        return True
    return False


def _explain(value: Any) -> EncodeError:
    """The error for a value that is not plain: walks again, this time with the path."""
    path: list[str] = []
    seen: set[int] = set()
    current = value
    while True:
        if id(current) in seen:
            return EncodeError(f"{_join(path)} contains itself.")
        seen.add(id(current))
        if len(path) >= MAX_DEPTH:
            return MessageTooLarge(f"{_join(path[:6])}… is nested deeper than {MAX_DEPTH} levels.")
        found = _culprit(current, MAX_DEPTH - len(path))
        if found is None:
            return _leaf_error(path, current)
        name, inner, is_key = found
        path.append(name)
        if is_key:
            return EncodeError(f"{_join(path)}: keys must be text, found {type(inner).__name__} {inner!r:.80}.")
        current = inner


def _culprit(value: Any, depth: int) -> tuple[str, Any, bool] | None:
    """The first child that is not plain: its name, itself, and whether it is the key that offends."""
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"[{key!r:.40}]", key, True
            if not _is_plain(item, depth - 1):
                return f".{key}", item, False
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            if not _is_plain(item, depth - 1):
                return f"[{index}]", item, False
    return None


def _leaf_error(path: list[str], value: Any) -> EncodeError:
    if type(value) is float:
        return EncodeError(f"{_join(path)} is {value}, which JSON cannot hold.")
    kind = type(value).__name__
    hint = "send obj.pk" if hasattr(value, "_meta") and hasattr(value, "pk") else _HINTS.get(kind)
    ending = f"; {hint}." if hint else "."
    return EncodeError(f"{_join(path)} is of type {kind}, which JSON cannot hold{ending}")


def _join(path: list[str]) -> str:
    return "".join(path).lstrip(".") or "the message"

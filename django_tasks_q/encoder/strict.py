"""Messages as strict JSON, the default.

JSON here is exactly what comes back: what would silently change on the way (a key that is no text,
``NaN``, a date, bytes) is refused at ``send()`` with the path of the culprit. Tuples become lists,
which is documented and is the one exception.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import DecodeError, EncodeError, MessageTooLarge
from .encoder import Encoder

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


class JSONEncoder(Encoder):
    """Strict JSON (RFC 8259) in UTF-8."""

    def encode(self, data: dict[str, Any]) -> bytes:
        if not _is_plain(data, MAX_DEPTH):
            raise _explain(data)
        try:
            return _written(data)
        except ValueError as error:
            raise _explain(data, _can_be_written) from error

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


def _written(data: dict[str, Any]) -> bytes:
    """ValueError for an integer of more digits than Python writes (``sys.get_int_max_str_digits()``)."""
    try:
        return msgspec.json.encode(data)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8. The escaped form carries it through every broker unharmed.
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode("ascii")


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


def _can_be_written(value: Any, depth: int) -> bool:
    try:
        _written({"": value})
    except ValueError:
        return False
    return True


def _explain(value: Any, is_fine: Callable[[Any, int], bool] = _is_plain) -> EncodeError:
    """The error for a value that is not plain, or not fine otherwise: walks again, this time with the path."""
    path: list[str] = []
    seen: set[int] = set()
    current = value
    while True:
        if id(current) in seen:
            return EncodeError(f"{_join(path)} contains itself.")
        seen.add(id(current))
        if len(path) >= MAX_DEPTH:
            return MessageTooLarge(f"{_join(path[:6])}… is nested deeper than {MAX_DEPTH} levels.")
        found = _culprit(current, MAX_DEPTH - len(path), is_fine)
        if found is None:
            return _leaf_error(path, current)
        name, inner, is_key = found
        path.append(name)
        if is_key:
            return EncodeError(f"{_join(path)}: keys must be text, found {type(inner).__name__} {_shown(inner):.80}.")
        current = inner


def _culprit(value: Any, depth: int, is_fine: Callable[[Any, int], bool]) -> tuple[str, Any, bool] | None:
    """The first child that is not fine: its name, itself, and whether it is the key that offends."""
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"[{_shown(key):.40}]", key, True
            if not is_fine(item, depth - 1):
                return f".{key}", item, False
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            if not is_fine(item, depth - 1):
                return f"[{index}]", item, False
    return None


def _shown(key: object) -> str:
    """The key that offends, as far as it can be shown: an integer may have too many digits for that as well."""
    try:
        return repr(key)
    except Exception:
        return "…"


def _leaf_error(path: list[str], value: Any) -> EncodeError:
    if type(value) is int:
        return EncodeError(f"{_join(path)} has more than {sys.get_int_max_str_digits()} digits; send hex(value).")
    if type(value) is float:
        return EncodeError(f"{_join(path)} is {value}, which JSON cannot hold.")
    kind = type(value).__name__
    hint = "send obj.pk" if hasattr(value, "_meta") and hasattr(value, "pk") else _HINTS.get(kind)
    ending = f"; {hint}." if hint else "."
    return EncodeError(f"{_join(path)} is of type {kind}, which JSON cannot hold{ending}")


def _join(path: list[str]) -> str:
    return "".join(path).lstrip(".") or "the message"

"""Values as every database can store them, without losing what was there.

PostgreSQL stores neither NUL characters nor lone surrogates. A text that has some is kept with a marker in front
(U+FDD0, which is no character and stands in nobody's text) and the offenders as Python escapes; :func:`original`
undoes it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

_MARK = "\ufdd0"
_OFFENDERS = re.compile(r"[\x00\ud800-\udfff\\]")
_ESCAPES = re.compile(r"\\(\\|x00|u[0-9a-f]{4})")
MAX_DEPTH = 30
"""MariaDB reads 31 levels of JSON, MySQL 100."""
_SUSPICIOUS = re.compile(r"[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """``text``, or its marked and escaped form when a database might refuse it."""
    if _SUSPICIOUS.search(text) is None:
        return text
    return _MARK + _OFFENDERS.sub(_escape, text)


def original(text: str) -> str:
    """The text that :func:`storable` was given."""
    return _ESCAPES.sub(_unescape, text[1:]) if text.startswith(_MARK) else text


def original_document(text: str) -> Any:
    """What the text of a JSON column says, with every text in it as it was; an int may have been a float."""
    value = msgspec.json.decode(text)
    return original_value(value) if _MARK in text or "\\ufdd0" in text else value


def json_text(value: Any) -> str | None:
    """A value as JSON text that every database takes; what JSON cannot hold is shown by its ``repr``.

    None, which is "not known", for what contains itself or has too many digits to be written.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return _carefully(value)
    return _carefully(value) if "\\u0000" in text else text


def _carefully(value: Any) -> str | None:
    try:
        return json.dumps(_storable_value(value), default=_shown)
    except (ValueError, RecursionError):
        return None


def shallow(text: str | None) -> str | None:
    """JSON text as MariaDB takes it: what lies deeper than it looks becomes text itself."""
    if text is None or text.count("[") + text.count("{") < MAX_DEPTH:
        return text
    return json.dumps(_cut(json.loads(text), MAX_DEPTH))


def depth(value: Any) -> int:
    """How many levels of lists and dicts a JSON value has; what :func:`shallow` may have cut has as many as it left."""
    level, found = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        found += 1
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
    return found


def original_value(value: Any) -> Any:
    """The value that :func:`json_text` was given, when it was JSON."""
    if isinstance(value, str):
        return original(value)
    if isinstance(value, dict):
        return {original(key): original_value(item) for key, item in value.items()}
    return [original_value(item) for item in value] if isinstance(value, list) else value


def _cut(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if not depth:
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _cut(item, depth - 1) for key, item in value.items()}
    return [_cut(item, depth - 1) for item in value]


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _storable_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # as msgspec writes it; no database takes the word
    return value


def _shown(value: object) -> str:
    try:
        return storable(repr(value)[:2000])
    except Exception as error:
        return f"<its repr raised {type(error).__name__}>"


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\\":
        return "\\\\"
    return "\\x00" if character == "\x00" else f"\\u{ord(character):04x}"


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    return "\\" if code == "\\" else chr(int(code[1:], 16))

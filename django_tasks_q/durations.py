"""Durations as people type them on a command line."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)?")


def parse_milliseconds(text: str) -> int:
    """``"1500"``, ``"30s"``, ``"10m"``, ``"2h"`` as milliseconds; a bare number is milliseconds. Else ValueError."""
    return _parse(text, "ms")


def parse_seconds(text: str) -> int:
    """The same as whole seconds; a bare number is seconds."""
    return _parse(text, "s") // 1_000


def _parse(text: str, default: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a duration is a whole number with ms, s, m, h or d behind it, not {text!r}")
    return int(match.group(1)) * _UNITS[match.group(2) or default]

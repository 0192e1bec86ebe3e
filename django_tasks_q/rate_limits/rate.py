"""Rates as people write them: ``100/m``."""

from __future__ import annotations

import re
from typing import NamedTuple

from .admissions import Span

_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?([smhd])")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Rate(NamedTuple):
    """So many within any window of that length."""

    limit: int
    span: Span


def parse_rate(text: str) -> Rate:
    """``100/m``, ``5/10s``: so many in a second, minute, hour or day, or in several. ValueError for anything else."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"A rate is written like '100/m' (s, m, h or d) or '5/10s': {text!r:.80}")
    number, several, unit = found.groups()
    return Rate(int(number), Span.sliding(int(several or 1) * _UNITS[unit]))

"""The Lua scripts. What several of them need stands in ``lua/parts`` and is put in front of those that name it."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from pathlib import Path

import msgspec

_FOLDER = Path(__file__).with_name("lua")
_PARTS = re.compile(r"^--@ (.*)$", re.MULTILINE)


class Script(msgspec.Struct, frozen=True):
    """A script as Redis runs it: its source, and the digest that Redis knows it by."""

    name: str
    source: bytes
    digest: bytes


@cache
def load(name: str) -> Script:
    """The script of ``lua/<name>.lua``."""
    text = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    named = _PARTS.search(text)
    parts = named[1].split() if named else []
    whole = "\n".join([*((_FOLDER / "parts" / f"{part}.lua").read_text(encoding="utf-8") for part in parts), text])
    source = whole.encode()
    return Script(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())

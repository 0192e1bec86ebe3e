"""The command line of this process once more, for fresh interpreters."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PROGRAM = Path(__file__).with_name("gevent_program.py")

_TAKES_VALUE = re.compile(r"-([a-zA-Z?]*?)([cmWX])(.*)", re.S)
"""Options of the interpreter in one word, the last of which takes the rest of the word, or else the next one."""


def again() -> list[str]:
    """As it was."""
    return [sys.executable, *sys.orig_argv[1:]]


def with_greenlets() -> list[str]:
    """The same, but patched by gevent before the first import of the program."""
    options, program = _split(sys.orig_argv[1:])
    return [sys.executable, *options, str(_PROGRAM), *program]


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What is the interpreter's own, and the program with everything that is the program's: ``-m module …``."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        found = _TAKES_VALUE.fullmatch(words[at])
        if found is None:
            at += 2 if words[at] == "--check-hash-based-pycs" else 1
            continue
        before, option, value = found.groups()
        if option in "cm":
            own = [f"-{before}"] if before else []
            return [*words[:at], *own], [f"-{option}", *([value] if value else []), *words[at + 1 :]]
        at += 1 if value else 2
    return words[:at], words[at:]

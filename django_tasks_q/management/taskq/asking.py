"""Asking who sits at the terminal before something is done to everything."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from .output import Output
from .subcommand import refuse


def add_yes(add: Callable[..., Any]) -> None:
    add("--yes", "--no-input", "--noinput", action="store_true", dest="yes", help="without being asked")


def is_wanted(facts: Iterable[str], question: str, refusal: str, out: Output) -> bool:
    """What somebody answers who sees the facts. Exit code 2 where nobody can be asked."""
    if not sys.stdin.isatty():
        refuse(f"{refusal}: say --yes.")
    for fact in facts:
        out.ask(f"{fact}\n")
    out.ask(f"{question} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")

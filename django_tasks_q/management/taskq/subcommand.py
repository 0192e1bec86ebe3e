"""What every subcommand is, and how it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from django.core.management.base import CommandError

from django_tasks_q import BrokerError
from django_tasks_q.mirror.text import storable

from .output import Output

_MOST = 2**31 - 1

DONE, NOTHING, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes. 1 also means unhealthy, or a broker that is away."""


class Subcommand(ABC):
    """One word behind ``taskq``."""

    name: ClassVar[str]
    help: ClassVar[str]

    @abstractmethod
    def add_arguments(self, add: Callable[..., Any]) -> None:
        """Declare the arguments; ``add`` is a parser's ``add_argument``. ``--json`` is there already."""

    @abstractmethod
    def run(self, given: dict[str, Any], out: Output) -> int:
        """Do it; returns the exit code. Raises CommandError with code 2 for a user's mistake."""

    def fail(self, error: BrokerError, out: Output) -> int:
        """The broker is away, or something else is wrong with it: say so; returns the exit code."""
        raise CommandError(str(error), returncode=NOTHING) from error


def refuse(text: str) -> NoReturn:
    """Say what is wrong with what the user typed."""
    raise CommandError(text, returncode=USAGE)


def refuse_unreadable(given: dict[str, Any]) -> None:
    """Refuse texts that no database can look for: a shell hands over bytes that are no UTF-8 as lone surrogates."""
    for value in given.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and storable(text) != text:
                refuse(f"This is no text: {text!r:.80}")


def typed(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """The ``type=`` of an argument: what ``convert`` says in a ValueError is what the user reads."""

    def parse(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return parse


def positive(text: str) -> int:
    """A whole number from 1 on that databases can count to, else ValueError."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise ValueError(f"a whole number from 1 on, up to {_MOST}, is wanted, not {text!r:.80}")
    return int(text)

"""Asking a broker on behalf of somebody who does not want to wait for it: a page, whoever is away."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import connections

from .. import clock
from ..errors import BrokerConnectionError

T = TypeVar("T")

REST = 2.0
"""Seconds for which a broker that did not answer counts as away, so that one page waits for it once."""


def ask(whom: object, question: Callable[[], T], patience: float | None) -> T:
    """What ``question`` to a broker, or to a store of limits or results, returns or raises.

    BrokerConnectionError when there is no answer within ``patience`` seconds, or was none just now. Without patience
    its own time-outs count, as they do for a database (``using``), whose connection belongs to this thread.
    """
    if patience is None or hasattr(whom, "using"):
        return question()
    with _lock:
        line = _lines.setdefault(whom, _Line())
    return line.ask(question, patience)


class _Line:
    """What is known of one broker's silence. A thread that still waits for it ends by the broker's own time-out."""

    def __init__(self) -> None:
        self._away_until = 0.0
        self._trouble = ""

    def ask(self, question: Callable[[], T], patience: float) -> T:
        if clock.monotonic() < self._away_until:
            raise BrokerConnectionError(self._trouble)
        call = _Call(question)
        call.start()
        call.join(patience)
        try:
            answer: T = call.answer(patience)
        except BrokerConnectionError as error:
            self._trouble, self._away_until = str(error), clock.monotonic() + REST
            raise
        return answer


class _Call(Thread):
    """A question that is asked in a thread of its own."""

    def __init__(self, question: Callable[[], Any]) -> None:
        super().__init__(daemon=True, name="Question")
        self._question = question
        self._answer: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer = self._question()
        except BaseException as error:
            self._error = error
        finally:
            connections.close_all()

    def answer(self, patience: float) -> Any:
        if self.is_alive():
            raise BrokerConnectionError(f"The broker did not answer within {patience:g} s.")
        if self._error is not None:
            raise self._error
        return self._answer


_lines: WeakKeyDictionary[Any, _Line] = WeakKeyDictionary()
_lock = Lock()

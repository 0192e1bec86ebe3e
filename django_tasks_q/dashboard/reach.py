"""Whether the broker answers, asked before a page would wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured

from ..broker import get_broker
from ..errors import BrokerError
from ..operations.asking import ask

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a page waits for the broker."""


def require_answer() -> None:
    """BrokerConnectionError, soon, when the broker is away. A database tells by itself: it is asked for the page."""
    broker = get_broker()
    if broker.journal is not None:
        ask(broker, broker.check_ready, PATIENCE)


def ask_store(store: object, question: Callable[[], T]) -> T:
    """What a store of limits or results says; BrokerConnectionError, soon, when it is away.

    Sooner where the broker is: it is likely to be the same server, and a page waits for both.
    """
    return ask(store, question, PATIENCE / 2 if trouble() else PATIENCE)


def trouble() -> str:
    """What is wrong with the broker, for a page that shows what was recorded before; empty when nothing is."""
    try:
        require_answer()
    except BrokerError as error:
        return str(error)
    except ImproperlyConfigured:
        return ""  # said by the page itself, which shows nothing else
    return ""

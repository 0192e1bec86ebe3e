"""Brokers in memory for a block, a test, or each test of a class."""

from __future__ import annotations

from typing import Any

from django.core.signals import setting_changed
from django.test.utils import TestContextDecorator

from .. import conf
from .draining import LIMIT
from .immediate_broker import ImmediateBroker
from .stand_in import StandIn


class capture(TestContextDecorator):
    """Everything that is sent goes to a broker in memory in the place of the real one, and nothing runs unasked.

    Use it as a context manager, as a decorator of a function, sync or async, or of a ``TestCase`` class (then it begins
    with ``setUp``). The actors of the process's broker belong to the other one meanwhile, those that are declared
    meanwhile too; afterwards everything is as it was, and what still waited is gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entered: list[StandIn] = []

    def _make(self) -> StandIn:
        return StandIn()

    def enable(self) -> StandIn:
        broker = self._make()
        broker.step_in()
        self._entered.append(broker)
        setting_changed.connect(self._settings_changed)
        return broker

    def disable(self) -> None:
        broker = self._entered.pop()
        if not self._entered:
            setting_changed.disconnect(self._settings_changed)
        broker.step_out()

    def __enter__(self) -> StandIn:  # type: ignore[override] # the stubs know Django's own decorators only
        return self.enable()

    def _settings_changed(self, *, setting: str, **kwargs: Any) -> None:
        if setting == conf.NAME:
            self._entered[-1].follow()


class immediate(capture):
    """As :class:`capture`, but messages run as they are sent, in the sender's thread, before ``send()`` returns.

    They go through the whole pipeline of a worker. What a message sends while it runs, and what follows from it
    (pipelines, callbacks), runs after it; the outermost ``send()`` returns when all is quiet. ``send_on_commit()`` runs
    at the commit. Time limits are not enforced.

    Parameters:
        raise_errors: the sender gets the first error of what failed. The message is settled all the same: its retry
            waits, or it is a dead letter.
        with_delayed: delayed messages and retries run at once too, in the order of their times, and only what is dead
            in the end raises. Without it they wait: ``drain(with_delayed=True)`` runs them.
        limit: how many messages one send may cause; then :class:`DrainLimitReached` is raised.
    """

    def __init__(self, *, raise_errors: bool = True, with_delayed: bool = False, limit: int = LIMIT) -> None:
        super().__init__()
        self._options: dict[str, Any] = {"raise_errors": raise_errors, "with_delayed": with_delayed, "limit": limit}

    def _make(self) -> StandIn:
        return ImmediateBroker(**self._options)

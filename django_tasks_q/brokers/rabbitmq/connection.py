"""One AMQP connection, and how to ask RabbitMQ something on it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from pika import connection as amqp

from ... import clock
from ...errors import BrokerConnectionError
from .stream import Stream


class ChannelClosed(Exception):
    """The broker closed a channel: ``code`` and ``text`` say why. It never leaves this package."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class Unanswered(BrokerConnectionError):
    """RabbitMQ did not answer a question in time that somebody asked who can do without."""


class Connection(Stream):
    """A stream on which questions are asked and answered. ``declared``: queues that were declared on it.

    Parameters:
        timeout: seconds for connecting and for each question asked.

    ``until``: when whoever asks at present must have the answer, if that is sooner, on the monotonic clock.

    Otherwise as :class:`Stream`.
    """

    def __init__(self, parameters: amqp.Parameters, timeout: float, name: str = "") -> None:
        self.declared: set[str] = set()
        self.until = inf
        super().__init__(parameters, timeout, name)

    def open_channel(self) -> Any:
        """A new channel. Raises ConnectionClosed, or BrokerConnectionError when there is no answer."""
        self.check_open()
        channel = self.channel()
        self._wait_for(lambda: channel.is_open)
        return channel

    def ask(self, question: Callable[..., Any], *args: Any, seconds: float | None = None, **kwargs: Any) -> Any:
        """Call a method of a channel that takes a ``callback``, and return what the callback got.

        Raises ChannelClosed when the broker answers by closing the channel; otherwise as :meth:`open_channel`. With
        ``seconds`` it waits no longer than that, and raises Unanswered; the connection stays as it is.
        """
        self.check_open()
        channel = question.__self__  # type: ignore[attr-defined]
        answers: list[Any] = []
        question(*args, callback=lambda *answer: answers.append(answer), **kwargs)
        if seconds is None:
            self._wait_for(lambda: answers or not channel.is_open)
        elif not self.drive(lambda: answers or not channel.is_open, clock.monotonic() + seconds) and self.is_open:
            raise Unanswered(f"RabbitMQ did not answer within {seconds:g} s.")
        if not answers:
            self.check_open()
            raise closed_reason(channel)
        return answers[0][-1]

    def _wait_for(self, done: Callable[[], object]) -> None:
        seconds = min(self.timeout, max(0.0, self.until - clock.monotonic()))
        if not self.drive(done, clock.monotonic() + seconds):
            self.check_open()
            self.abort()
            raise BrokerConnectionError(f"RabbitMQ did not answer within {seconds:.3g} s.")

    def close_channel(self, channel: Any) -> None:
        """Close a channel and wait until the broker has: what was acknowledged on it is gone, the rest given back."""
        if channel.is_open:
            channel.close()
        self._wait_for(lambda: channel.is_closed)


def closed_reason(channel: Any) -> ChannelClosed:
    """Why a channel was closed."""
    reason = getattr(channel, "_closing_reason", None)
    return ChannelClosed(getattr(reason, "reply_code", 0), str(getattr(reason, "reply_text", reason)))

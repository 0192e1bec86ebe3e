"""Every error of the package, in one shallow tree; the docstring is the default message."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any


class DjangoTasksQError(Exception):
    """Something went wrong in django_tasks_q."""

    def __init__(self, message: str | None = None, *args: Any) -> None:
        text = message if message is not None else (type(self).__doc__ or "").strip().split("\n")[0]
        super().__init__(text, *args)

    @property
    def message(self) -> str:
        return str(self.args[0])


DramatiqError = DjangoTasksQError
"""The name Dramatiq gives to the base of its errors; kept so that an import line is all that changes."""


class EncodeError(DjangoTasksQError, ValueError):
    """A value cannot be encoded; the message names its path (``kwargs.user.id``)."""


class MessageTooLarge(EncodeError):
    """The encoded message is larger, or nested deeper, than the settings allow."""


class DecodeError(DjangoTasksQError):
    """Bytes that should hold a message do not."""

    def __init__(self, message: str | None = None, data: bytes = b"", error: Exception | None = None) -> None:
        super().__init__(message)
        self.data = data
        self.error = error


class UnsupportedVersion(DecodeError):
    """The message was written by a newer release; this one leaves it for a newer worker."""


class BrokerError(DjangoTasksQError):
    """Base of everything a broker complains about."""


class ActorNotFound(BrokerError):
    """No actor of that name is declared on the broker."""


class QueueNotFound(BrokerError):
    """No queue of that name is declared on the broker."""


class DuplicateMessage(BrokerError):
    """A message with this id is still waiting or running, or one that holds the key: ``holder`` is its id then."""

    def __init__(self, message: str | None = None, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder


class NotADeadLetter(BrokerError):
    """The message is no dead letter (any more): it was requeued, discarded or replaced, or it never died."""


class BrokerConnectionError(BrokerError):
    """The broker cannot be reached."""


class ConnectionFailed(BrokerConnectionError):
    """A connection to the broker could not be opened."""


class ConnectionClosed(BrokerConnectionError):
    """A connection to the broker was closed while it was in use."""


class BrokerNotReady(BrokerError):
    """The broker's storage is not there yet (for the database broker: run ``manage.py migrate``)."""


class QueueMismatch(BrokerNotReady):
    """A queue exists at the broker with other arguments than this project wants."""


class PartialSendError(BrokerConnectionError):
    """Only a part of the messages was sent: ``sent`` and ``unsent`` say which; those may be sent again."""

    def __init__(self, message: str | None = None, sent: Sequence[Any] = (), unsent: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.sent = list(sent)
        self.unsent = list(unsent)


class QueueJoinTimeout(DjangoTasksQError):
    """The queue was not empty when the time was up."""


class RateLimitExceeded(DjangoTasksQError):
    """The rate limit was reached."""


class ResultError(DjangoTasksQError):
    """Base of what there is to say instead of a result."""


class ResultMissing(ResultError):
    """There is no result: the message has not ended, its results are not stored, or this one has expired."""


class ResultTimeout(ResultError):
    """There was no result when the time was up."""


class ResultFailure(ResultError):
    """The message failed for good, or its result could not be stored.

    Parameters:
        orig_exc_type: the name of the exception's class.
        orig_exc_msg: its text.
        traceback: as the worker saw it, bounded; empty where there was none.
    """

    def __init__(
        self, message: str | None = None, orig_exc_type: str = "", orig_exc_msg: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.orig_exc_type = orig_exc_type
        self.orig_exc_msg = orig_exc_msg
        self.traceback = traceback


class BadArguments(DjangoTasksQError, TypeError):
    """The message's arguments do not fit the actor's signature."""


class LostWorker(DjangoTasksQError):
    """The worker that ran the message died; it is never raised, only recorded with the attempt."""


class HardTimeLimit(DjangoTasksQError):
    """The time limit could not end the task, so its process was ended; never raised, only recorded."""


class Interrupt(BaseException):
    """Raised inside a running actor from outside; a BaseException, so that ``except Exception`` lets it through."""

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").split("\n")[0]


class TimeLimitExceeded(Interrupt):
    """The actor ran longer than its time limit."""


class Shutdown(Interrupt):
    """The worker stops and cannot wait for the actor any longer."""


class MessageRevoked(Interrupt):
    """Somebody has called the message off while it ran."""


class MiddlewareError(Exception):
    """Raised by a middleware hook to stop what is going on."""


class SkipMessage(MiddlewareError):
    """Raised by ``before_process_message``: the message is not run; it is done, or dead if ``fail()`` was called."""


class ProcessesFailed(DjangoTasksQError):
    """The worker's processes could not be started; ``runworkers`` ends with ``exit_code``."""

    def __init__(self, message: str | None = None, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Retry(DjangoTasksQError):
    """Raised by an actor that wants to run again; an attempt is counted.

    ``delay`` is the exact wait in milliseconds (or a ``timedelta``); ``None`` leaves it to the back-off.
    """

    def __init__(self, message: str = "", delay: int | timedelta | None = None) -> None:
        super().__init__(message)
        self.delay = delay


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The ending of an error about an unknown name: a guess, or an empty text."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def renamed(name: str, module: str) -> Any:
    """``module.name`` by its name of today; AttributeError for what never was there.

    Dramatiq deprecates ``ConnectionError``, too: it hides Python's own.
    """
    if name != "ConnectionError":
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn("ConnectionError is called BrokerConnectionError.", DeprecationWarning, stacklevel=3)
    return BrokerConnectionError


if not TYPE_CHECKING:  # type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        return renamed(name, __name__)

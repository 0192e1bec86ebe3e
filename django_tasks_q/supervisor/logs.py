"""Logging of worker processes: one line for each record, with the message it belongs to."""

from __future__ import annotations

import logging
import re
import sys
import time
from logging.handlers import WatchedFileHandler
from typing import Any

import msgspec

from ..logging import MessageFilter

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FIELDS = ("message_id", "actor", "queue", "retries")
_OURS = "django_tasks_q"


class TextFormatter(logging.Formatter):
    """``[time] [PID] [thread] [logger] [level] [message id] text``; control characters of foreign texts are escaped."""

    def __init__(self) -> None:
        super().__init__(
            "[%(asctime)s] [PID %(process)d] [%(threadName)s] [%(name)s] [%(levelname)s] [%(message_id)s] %(message)s"
        )

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "message_id", None) is None:
            record.message_id = "-"
        text = super().format(record)
        first, *rest = text.split("\n")
        # A text with a line break of its own must not look like a record: its lines are indented.
        return "\n".join([_escape(first), *("    " + _escape(line) for line in rest)])


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "thread": record.threadName,
            "text": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode(errors="replace")


def configure(log_format: str, log_file: str | None, verbosity: int) -> None:
    """Set logging up where the project has not: a handler on the root logger, or one of ours.

    With ``log_file`` everything goes there, whatever the project configured. A log that cannot be written never stops
    a task: the errors of logging itself are swallowed.
    """
    logging.raiseExceptions = False
    root = logging.getLogger()
    message_filter = MessageFilter()
    if log_file is None and root.handlers:
        for handler in root.handlers:
            handler.addFilter(message_filter)
        return
    handler = WatchedFileHandler(log_file) if log_file is not None else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(message_filter)
    ours = logging.getLogger(_OURS)
    for logger in (root, ours):
        logger.handlers[:] = []
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbosity > 2 else logging.WARNING if verbosity < 1 else logging.INFO)
    ours.setLevel(logging.DEBUG if verbosity > 1 else logging.NOTSET)


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)

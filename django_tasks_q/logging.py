"""Loggers, and the filter that puts the running message on every record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import ModuleType

Fields = Mapping[str, object]

NO_MESSAGE: Fields = {"message_id": None, "actor": None, "queue": None, "retries": None}

_current_fields: Callable[[], Fields] = lambda: NO_MESSAGE  # noqa: E731 - a seam, filled by ``context``


def set_fields_source(source: Callable[[], Fields]) -> None:
    """Say who knows the running message; ``context`` does so when it is imported."""
    global _current_fields
    _current_fields = source


def get_logger(module: ModuleType | str, name: str | type | None = None) -> logging.Logger:
    """The logger ``module.Name``, or of the module alone; ``name`` may be a class."""
    path = module if isinstance(module, str) else module.__name__
    name = name.__name__ if isinstance(name, type) else name
    return logging.getLogger(f"{path}.{name}" if name else path)


class MessageFilter(logging.Filter):
    """Adds ``message_id``, ``actor``, ``queue`` and ``retries`` to every record it sees.

    It never drops a record, and it leaves fields alone that the record has already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _current_fields().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True

"""What all private servers have in common: they run inside a ``with`` and leave nothing."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Private:
    """Started on entering ``with``, ended on leaving; and ended at once when only some of it could be started."""

    def __init__(self) -> None:
        self._on_leaving = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            self.enter(held)
            self._on_leaving = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._on_leaving.close()

    def enter(self, held: ExitStack) -> None:
        """Start everything, and leave with ``held`` what ends it."""
        raise NotImplementedError

"""Who is told of what happens to messages, actors and workers, and in which order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import MiddlewareError
from .logging import get_logger

if TYPE_CHECKING:
    from .middleware import Middleware


class Hooks(ABC):
    """A stack of middleware, and the methods of it that listen."""

    def __init__(self) -> None:
        self.logger = get_logger(type(self).__module__, type(self).__name__)
        self.actor_options: set[str] = set()
        self.middleware: list[Middleware] = []
        self._hooks: dict[str, list[Callable[..., Any]]] = {}

    def add_middleware(
        self, middleware: Middleware, *, before: type[Middleware] | None = None, after: type[Middleware] | None = None
    ) -> None:
        """Put ``middleware`` at the end of the stack, or before or after the first of a class.

        It hears of the queues and actors that are declared already. ValueError when the anchor is not in the stack or
        both are given.
        """
        if before is not None and after is not None:
            raise ValueError("Give before= or after=, not both.")
        anchor = before or after
        if anchor is None:
            self.middleware.append(middleware)
        else:
            positions = [i for i, item in enumerate(self.middleware) if isinstance(item, anchor)]
            if not positions:
                raise ValueError(f"{anchor.__name__} is not in the middleware of this broker.")
            self.middleware.insert(positions[0] + (after is not None), middleware)
        self.actor_options |= middleware.actor_options
        self._hooks.clear()
        self._introduce(middleware)

    @abstractmethod
    def _introduce(self, middleware: Middleware) -> None:
        """Tell a new middleware of the queues and actors that are declared already."""

    def hooks(self, signal: str) -> list[Callable[..., Any]]:
        """The methods that listen to ``signal``, in calling order; inherited no-ops are left out."""
        found = self._hooks.get(signal)
        if found is None:
            methods = [getattr(item, signal, None) for item in self.middleware]
            found = [method for method in methods if method is not None and not hasattr(method, "no_op")]
            if signal.startswith("after_"):
                found.reverse()
            self._hooks[signal] = found
        return found

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call ``before_<signal>`` of every middleware, in order. Only MiddlewareError gets through."""
        for hook in self.hooks("before_" + signal):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self.logger.critical("Unexpected failure in before_%s.", signal, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call ``after_<signal>`` of every middleware, in reverse order. What they raise is logged and contained."""
        for hook in self.hooks("after_" + signal):
            try:
                hook(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in after_%s.", signal, exc_info=True)

"""Whether arguments fit a function, cheaply enough to ask at every send and before every run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .errors import BadArguments

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """The signature of a function, with a short cut for calls that are positional only."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._signature = inspect.signature(fn)
        parameters = self._signature.parameters.values()
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        needs_keywords = any(
            parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
            for parameter in parameters
        )
        self._fewest = sum(parameter.default is inspect.Parameter.empty for parameter in positional)
        self._most = -1 if needs_keywords else len(positional)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise BadArguments (a TypeError) saying what was expected and what came."""
        if not kwargs and self._fewest <= len(args) <= self._most:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(error, args, kwargs) from None

    def check_partial(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The same for a call whose last arguments are still to come: a later step of a pipeline gets a result."""
        if not kwargs and len(args) <= self._most:
            return
        try:
            self._signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(error, args, kwargs) from None

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by the names of their parameters, as far as they were given; errors as of
        :meth:`check_partial`."""
        try:
            return dict(self._signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise self._misfit(error, args, kwargs) from None

    def _misfit(self, error: TypeError, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BadArguments:
        # Types, not values: the text goes to records and logs, which may have to hide them.
        got = ", ".join([type(arg).__name__ for arg in args] + [f"{name}=…" for name in kwargs])
        return BadArguments(f"{error}; expected {self._signature}, got ({got})")

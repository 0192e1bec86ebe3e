"""What the families of backends have in common: how each of them is found."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

Backend = TypeVar("Backend")


class FromSettings(Generic[Backend]):
    """Called, the backend that the settings describe: that of its URL, else the one that fits the broker.

    RuntimeError without Django, whose floor says who reads the settings (``make``).
    """

    make: Callable[[], Backend] | None = None

    def __call__(self) -> Backend:
        if self.make is None:
            raise RuntimeError(
                "There are no settings to take a backend from: make one (StubBackend()), or put 'django_tasks_q' in "
                "INSTALLED_APPS and set Django up."
            )
        return self.make()


_MODULES = {"DatabaseBackend": "database", "RedisBackend": "redis"}


def find_in(package: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package of backends.

    Redis' needs the client library, and the database's Django with its apps loaded: they are imported when asked for.
    """

    def find(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{package}.{_MODULES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "redis":
                raise
            raise ImportError('RedisBackend needs the redis client: pip install "django-tasks-q[redis]"') from error

    return find

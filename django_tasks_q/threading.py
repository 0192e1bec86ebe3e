"""Raising an exception in another thread, which is how time limits and shutdowns reach running actors."""

from __future__ import annotations

import ctypes
import platform
import sys

from .errors import Interrupt

__all__ = [
    "Interrupt",
    "clear_thread_exception",
    "current_platform",
    "is_gevent_active",
    "raise_thread_exception",
    "supported_platforms",
]

current_platform = platform.python_implementation()
supported_platforms = frozenset({"CPython"})


def is_gevent_active() -> bool:
    """Whether threads are greenlets here, because gevent has patched the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def raise_thread_exception(thread_id: int, exception: type[BaseException]) -> None:
    """Have ``exception`` raised in a thread the next time it runs Python code; blocked system calls are not ended.

    RuntimeError on interpreters other than CPython.
    """
    _set_async_exception(thread_id, ctypes.py_object(exception))


def clear_thread_exception(thread_id: int) -> None:
    """Take back what :func:`raise_thread_exception` asked for, if it has not been raised yet."""
    _set_async_exception(thread_id, None)


def _set_async_exception(thread_id: int, exception: object) -> None:
    if current_platform not in supported_platforms:
        raise RuntimeError(f"Threads cannot be interrupted on {current_platform}.")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), exception)

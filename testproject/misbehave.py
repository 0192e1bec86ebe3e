"""Actors that misbehave on command, for the tests of everything that can go wrong in other people's code.

Each does one bad thing, at once and on purpose, and writes to the ledger what it lived to tell. Those that fail retry
quickly, so that a test need not wait; a message can say otherwise (`send_with_options(max_retries=…)`).
"""

import ctypes
import locale
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from django.contrib.auth.models import Group
from django.db import connection, transaction

from django_tasks_q import Actor, actor, get_message_id, get_retry_count, set_progress
from testproject.ledger import recorded

P = ParamSpec("P")
R = TypeVar("R")

SLICE = 0.01


def misbehaving(function: Callable[P, R]) -> Actor[P, R]:
    """An actor that writes to the ledger and, where it fails, is tried again three times within half a second."""
    return actor(max_retries=3, min_backoff=10, max_backoff=100)(recorded(function))


class Misbehaviour(Exception):
    """What these actors raise when they are asked to fail."""


# ---- Well-behaved, as a measure for the others --------------------------------------------------------------------


@misbehaving
def noop() -> None:
    """Do nothing."""


@misbehaving
def echo(value: Any) -> Any:
    """Return the argument."""
    return value


@misbehaving
def sleep(seconds: float) -> None:
    """Sleep in small slices, so that an exception raised in this thread from outside lands soon."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, SLICE))


@misbehaving
def wait_for_file(path: str) -> None:
    """Go on until somebody makes a file."""
    while not Path(path).exists():
        time.sleep(SLICE)


@misbehaving
def advance(steps: int, path: str) -> None:
    """Say at each of many steps how far it is, wait at the one before the last until somebody makes a file."""
    for done in range(steps):
        set_progress(done, steps, f"step {done}")
    while not Path(path).exists():
        time.sleep(SLICE)
    set_progress(steps, steps, "all steps")


@misbehaving
def healthy_connection() -> None:
    """Fail unless the database connection works and no transaction of an earlier task is open on it."""
    if connection.in_atomic_block or not connection.get_autocommit():
        raise Misbehaviour("somebody left a transaction open")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


# ---- Failing ------------------------------------------------------------------------------------------------------


@misbehaving
def fail(times: int) -> None:
    """Fail the first `times` attempts, then succeed."""
    if (attempt := get_retry_count() or 0) < times:
        raise Misbehaviour(f"attempt {attempt} fails, as asked")


@misbehaving
def fail_always() -> NoReturn:
    """Fail every attempt."""
    raise Misbehaviour("this one never works")


@misbehaving
def sys_exit(code: int = 1) -> NoReturn:
    """Raise SystemExit."""
    sys.exit(code)


@misbehaving
def keyboard_interrupt() -> NoReturn:
    """Raise KeyboardInterrupt, as a Ctrl-C would."""
    raise KeyboardInterrupt


@misbehaving
def base_exception() -> NoReturn:
    """Raise a bare BaseException, which `except Exception` does not catch."""
    raise BaseException("not even an Exception")


@misbehaving
def huge_exception(characters: int = 10_000_000) -> NoReturn:
    """Raise an exception with an enormous message."""
    raise Misbehaviour("x" * characters)


@misbehaving
def odd_exception(text: str) -> NoReturn:
    """Raise an exception with this text, which may hold anything (NUL, lone surrogates, colour codes, markup)."""
    raise Misbehaviour(text)


def _sink(depth: int) -> NoReturn:
    if depth:
        _sink(depth - 1)
    raise Misbehaviour("from the depths")


@misbehaving
def deep_exception(depth: int = 500) -> NoReturn:
    """Raise an exception from the bottom of a deep recursion."""
    _sink(depth)


@misbehaving
def chained_exception(links: int = 50) -> NoReturn:
    """Raise an exception with a long chain of causes that ends in itself."""
    first = error = Misbehaviour("link 0")
    for number in range(1, links):
        error.__cause__ = error = Misbehaviour(f"link {number}")
    error.__cause__ = first
    raise first


@misbehaving
def exception_group() -> NoReturn:
    """Raise an ExceptionGroup inside another one."""
    inner = ExceptionGroup("inner", [Misbehaviour("one"), ValueError("two")])
    raise ExceptionGroup("outer", [inner, KeyError("three")])


class HostileError(Exception):
    """Cannot be printed."""

    def __str__(self) -> NoReturn:
        raise Misbehaviour("no text for you")

    def __repr__(self) -> NoReturn:
        raise Misbehaviour("no representation either")


@misbehaving
def hostile_exception() -> NoReturn:
    """Raise an exception whose `__str__` and `__repr__` raise."""
    raise HostileError


@misbehaving
def unencodable_result() -> object:
    """Return what JSON cannot carry."""
    return object()


@misbehaving
def huge_result(characters: int = 10_000_000) -> str:
    """Return an enormous text."""
    return "x" * characters


# ---- Killing the process ------------------------------------------------------------------------------------------


@misbehaving
def kill_self(signal_number: int = signal.SIGKILL) -> None:
    """Send the own process a signal, SIGKILL by default, every time."""
    os.kill(os.getpid(), signal_number)
    time.sleep(SLICE)  # a signal that is handled arrives in the main thread: give it a moment


@misbehaving
def kill_once(marker: str) -> None:
    """SIGKILL the own process the first time, succeed after that; the file `marker` remembers."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@misbehaving
def segfault() -> None:
    """Read address zero: the kernel kills the process with SIGSEGV."""
    ctypes.string_at(0)


@misbehaving
def exit_now(code: int = 1) -> NoReturn:
    """Leave by `os._exit`: no clean-up, no `finally`, no goodbye."""
    os._exit(code)


# ---- Hogging ------------------------------------------------------------------------------------------------------


@misbehaving
def block(seconds: float) -> None:
    """Sleep in one blocking call: the GIL is free, but no exception can land before the end."""
    time.sleep(seconds)


@misbehaving
def wait_for_socket(seconds: float) -> None:
    """Wait in one blocking call for bytes that never come."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(seconds)
        try:
            ours.recv(1)
        except TimeoutError:
            pass


@misbehaving
def hold_gil(seconds: float) -> None:
    """Hold the GIL all the time, in a C call that does not give it up: no other thread of the process runs."""
    libc = ctypes.PyDLL(None)
    end = time.monotonic() + seconds
    # poll() without descriptors just waits; a signal ends it early, so it goes on for what is left.
    while (left := end - time.monotonic()) > 0:
        libc.poll(None, 0, max(1, int(left * 1000)))


@misbehaving
def busy_loop(seconds: float) -> None:
    """Compute in pure Python, without ever waiting for anything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@misbehaving
def swallow(seconds: float) -> None:
    """Catch every exception raised in this thread, time limits and shutdowns included, and carry on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(SLICE)
        except BaseException:
            pass


@misbehaving
def allocate(megabytes: int, seconds: float = 0) -> None:
    """Take this much memory, really touched, and hold it for a while."""
    memory = bytearray(b"\1") * (megabytes * 1024 * 1024)
    time.sleep(seconds)
    del memory


@misbehaving
def open_files(count: int) -> None:
    """Open this many descriptors at once; they are closed again, whatever happens."""
    descriptors: list[int] = []
    try:
        for _ in range(count):
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@misbehaving
def big_print(lines: int = 10_000) -> None:
    """Print a great deal."""
    for number in range(lines):
        print(f"{number:>8} {'=' * 100}")


# ---- Leaving a mess behind ----------------------------------------------------------------------------------------


@misbehaving
def leak_transaction() -> None:
    """Open a transaction, write in it, and leave it open. The group's name is `leaked-` and the message id."""
    transaction.atomic().__enter__()
    Group.objects.create(name=f"leaked-{get_message_id()}")


@misbehaving
def close_connection() -> None:
    """Close the driver's connection beneath Django, which goes on believing in it."""
    connection.ensure_connection()
    connection.connection.close()


@misbehaving
def fork_and_return() -> None:
    """Fork, and let the child return into the worker as if it were one (both write an end to the ledger)."""
    os.fork()


@misbehaving
def spawn_threads(count: int, seconds: float) -> None:
    """Start threads that outlive the task, and do not wait for them."""
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(seconds,)).start()


@misbehaving
def change_surroundings(directory: str = "/") -> None:
    """Change what a whole process shares: the working directory, the locale, the umask, the time zone."""
    os.chdir(directory)
    locale.setlocale(locale.LC_ALL, "C")
    os.umask(0o077)
    os.environ["TZ"] = "Antarctica/Troll"
    time.tzset()


# ---- Sending ------------------------------------------------------------------------------------------------------


@misbehaving
def self_enqueue(depth: int) -> None:
    """Send itself again, `depth` times in a row."""
    if depth > 0:
        self_enqueue.send(depth - 1)


@misbehaving
def multiply(depth: int, width: int = 2) -> None:
    """Send itself `width` times, each of which does the same, `depth` generations long."""
    if depth > 0:
        for _ in range(width):
            multiply.send(depth - 1, width)

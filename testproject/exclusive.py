"""Actors that do what only one may do at a time, and write down when they did.

What they write goes to a file beside the ledger, `<ledger>.leases`: one line for each thing that happened, `enter` and
`leave` around what is exclusive, with the fencing token of the lease. A second file, which knows the highest token that
was ever shown to it, refuses the older ones, as a store does that takes part in the fencing.
"""

import ctypes
import fcntl
import json
import os
import random
import time

from django_tasks_q import actor, get_message_id
from django_tasks_q.rate_limits import ConcurrentRateLimiter, Lease, get_rate_limiter_backend
from testproject.ledger import PATH_VARIABLE, recorded

KEY = "exclusive"
_PAUSE = (0.01, 0.04)
"""Seconds between two attempts to get in: far enough apart that waiting does not keep the machine busy."""


@actor(max_retries=3, min_backoff=10, max_backoff=100)
@recorded
def exclusive(seconds: float, ttl: int = 60_000, hold_gil: bool = False) -> None:
    """Wait for the key, hold it for so long, say how that went. `ttl` is milliseconds."""
    limiter = ConcurrentRateLimiter(get_rate_limiter_backend(), KEY, ttl=ttl)
    while True:
        with limiter.acquire(raise_on_failure=False) as lease:
            if lease:
                is_newest(lease)
                note("enter", lease)
                _wait(seconds, hold_gil)
                # Asked in this order: who is refused has lost the lease, and what he does afterwards is not exclusive.
                left_at = time.monotonic_ns()
                newest = is_newest(lease)
                note("lost" if lease.lease_lost else "kept", lease)
                note("leave" if newest else "refused", lease, left_at)
                return
        time.sleep(random.uniform(*_PAUSE))


@actor(concurrency=1, concurrency_key=KEY, max_retries=3, min_backoff=10, max_backoff=100)
@recorded
def declared(seconds: float) -> None:
    """The same as its own declaration says it; the time stands in for a token, which nobody gets here."""
    token = time.monotonic_ns()
    note("enter", token)
    time.sleep(seconds)
    note("kept", token)
    note("leave", token)


def note(event: str, holder: Lease | int, at: int | None = None) -> None:
    """One line: what, by which message and process, with which token, when (monotonic nanoseconds; None: now)."""
    token = holder.token if isinstance(holder, Lease) else holder
    entry = {"event": event, "id": get_message_id(), "pid": os.getpid(), "token": token}
    with open(_path(), "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Under the lock, so that the order of the lines is that of their times.
        file.write(json.dumps({**entry, "at": at or time.monotonic_ns()}).encode() + b"\n")


def is_newest(lease: Lease) -> bool:
    """Whether no higher token was ever shown here, which is what a store asks that fences old holders off."""
    with open(_path() + ".newest", "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if int(file.read() or 0) > lease.token:
            return False
        file.truncate(0)
        file.write(str(lease.token).encode())
        return True


def _path() -> str:
    return os.environ[PATH_VARIABLE] + ".leases"


def _wait(seconds: float, hold_gil: bool) -> None:
    if hold_gil:
        ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))
    else:
        time.sleep(seconds)

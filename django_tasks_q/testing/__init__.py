"""Helpers for the tests of projects: capture what is sent, run it on the calling thread, say what was sent.

What a test needs:

- :func:`capture` puts a broker in memory in the place of the real one; :func:`immediate` does, and runs messages as
  they are sent.
- :func:`drain` runs what is waiting, on the calling thread and its database connections.
- :func:`assert_sent`, :func:`assert_not_sent` and :func:`sent` say what was sent.
- :func:`task_worker` runs a real worker in threads, for tests that really commit.
- :func:`on_commit` runs what waits for a commit that never comes, because the test's transaction is rolled back.
"""

from __future__ import annotations

from .assertions import assert_not_sent, assert_sent, sent
from .capturing import capture, immediate
from .commits import on_commit
from .draining import DrainLimitReached, MessageFailed, Ran, adrain, drain
from .workers import TaskWorker, UnsuitableTest, task_worker

__all__ = [
    "DrainLimitReached",
    "MessageFailed",
    "Ran",
    "TaskWorker",
    "UnsuitableTest",
    "adrain",
    "assert_not_sent",
    "assert_sent",
    "capture",
    "drain",
    "immediate",
    "on_commit",
    "sent",
    "task_worker",
]

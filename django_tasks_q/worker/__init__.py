"""Running messages: one process's threads between a broker and people's code."""

from __future__ import annotations

from .io_loop import ConsumerThread
from .worker import Worker
from .worker_thread import WorkerThread

__all__ = ["ConsumerThread", "Worker", "WorkerThread"]

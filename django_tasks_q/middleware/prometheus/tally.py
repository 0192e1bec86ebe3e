"""What one worker process has counted, in files that outlive it.

They have the format of the client library's multiprocess mode, and are written with its own class: its metrics would
want ``PROMETHEUS_MULTIPROC_DIR`` in the environment before anybody imports it, take a lock for each value, and leave
files behind for each process there ever was. Here a new worker goes on with the files of a dead one.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import count
from threading import Lock

from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.utils import floatToGoString

from .folder import open_folder, take

BUCKETS = (
    *(5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1_000.0, 2_500.0, 5_000.0, 7_500.0, 10_000.0),
    *(30_000.0, 60_000.0, 600_000.0, 900_000.0, float("inf")),
)
"""Upper bounds in milliseconds, as in Dramatiq."""

_BOUNDS: list[str] = [floatToGoString(bound) for bound in BUCKETS]  # type: ignore[no-untyped-call]

_LABELS = ["queue_name", "actor_name"]
_ROOM = 1 << 18
"""Bytes of a new file, on the disk before it is mapped: one with holes would end the process when the disk is full."""


class Tally:
    """The counts of this process. OSError when there is no room for them."""

    def __init__(self, folder: str, prefix: str) -> None:
        open_folder(folder)
        self._folder = folder
        self._number = next(number for number in count() if take(folder, number) is not None)
        mark_process_dead(self._number, folder)  # type: ignore[no-untyped-call]
        self._prefix = prefix
        self._series: dict[tuple[str, str], Series] = {}
        self._lock = Lock()
        self._counters = self._open("counter")
        self._durations = self._open("histogram")
        self._gauges = self._open("gauge_livesum")

    def series(self, queue_name: str, actor_name: str) -> Series:
        """The counts of one actor on one queue."""
        found = self._series.get((queue_name, actor_name))
        if found is None:
            with self._lock:
                found = self._series.setdefault((queue_name, actor_name), self._make(queue_name, actor_name))
        return found

    def _make(self, queue_name: str, actor_name: str) -> Series:
        labels = [queue_name, actor_name]

        def counter(name: str, text: str) -> Value:
            name = f"{self._prefix}_{name}"
            return Value(self._counters, mmap_key(name, f"{name}_total", _LABELS, labels, text))

        running, duration = f"{self._prefix}_messages_inprogress", f"{self._prefix}_message_duration_milliseconds"
        text = "How long messages took, hooks included."
        return Series(
            self._lock,
            total=counter("messages", "Attempts that have ended, also of messages that were skipped."),
            errors=counter("message_errors", "Attempts that ended with an exception."),
            retries=counter("message_retries", "Attempts that failed and are followed by another."),
            rejects=counter("message_rejects", "Messages that became dead letters."),
            running=Value(self._gauges, mmap_key(running, running, _LABELS, labels, "Messages that run now.")),
            spent=Value(self._durations, mmap_key(duration, f"{duration}_sum", _LABELS, labels, text)),
            buckets=[
                Value(
                    self._durations,
                    mmap_key(duration, f"{duration}_bucket", [*_LABELS, "le"], [*labels, bound], text),
                )
                for bound in _BOUNDS
            ],
        )

    def _open(self, kind: str) -> MmapedDict:
        path = os.path.join(self._folder, f"{kind}_{self._number}.db")
        if not os.path.exists(path):
            new = f"{path}.new"
            with open(new, "wb") as file:
                file.write(bytes(_ROOM))
            os.replace(new, path)  # whoever reads finds it whole
        return MmapedDict(path)  # type: ignore[no-untyped-call]


class Value:
    """One number of a file; whoever changes it holds the lock."""

    __slots__ = ("_file", "_key", "_value")

    def __init__(self, file: MmapedDict, key: str) -> None:
        self._file = file
        self._key = key
        self._value: float = file.read_value(key)[0]  # type: ignore[no-untyped-call]

    def add(self, amount: float) -> None:
        self._value += amount
        self._file.write_value(self._key, self._value, 0.0)  # type: ignore[no-untyped-call]


class Series:
    """What is counted of one actor on one queue. The lock is the one of its files."""

    __slots__ = ("_buckets", "_errors", "_lock", "_rejects", "_retries", "_running", "_spent", "_total")

    def __init__(
        self,
        lock: Lock,
        *,
        total: Value,
        errors: Value,
        retries: Value,
        rejects: Value,
        running: Value,
        spent: Value,
        buckets: list[Value],
    ) -> None:
        self._lock = lock
        self._total, self._errors, self._retries, self._rejects = total, errors, retries, rejects
        self._running, self._spent, self._buckets = running, spent, buckets

    def begin(self) -> None:
        with self._lock:
            self._running.add(1)

    def end(self, duration: float | None) -> None:
        """After ``duration`` milliseconds; None when they say nothing."""
        with self._lock:
            self._running.add(-1)
            if duration is not None:
                self._spent.add(duration)
                self._buckets[bisect_left(BUCKETS, duration)].add(1)

    def count(self, *, failed: bool, retried: bool) -> None:
        with self._lock:
            self._total.add(1)
            if failed:
                self._errors.add(1)
            if retried:
                self._retries.add(1)

    def reject(self) -> None:
        with self._lock:
            self._rejects.add(1)

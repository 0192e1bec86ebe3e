"""Results in memory: for tests, and for results within one process."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from threading import Condition

from ... import clock
from ...deliveries import Result
from ...encoder import Encoder
from ..backend import ResultBackend


class StubBackend(ResultBackend):
    """Shared by the threads of a process and by nobody else."""

    def __init__(self, *, namespace: str = "dtq-results", encoder: Encoder | None = None) -> None:
        super().__init__(namespace=namespace, encoder=encoder)
        self._changed = Condition()
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._ends: list[tuple[float, str]] = []

    @property
    def address(self) -> str:
        return f"stub://{id(self)}"

    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        with self._changed:
            self._expire()
            now = clock.monotonic()
            for result in results:
                if replace or result.key not in self._kept:
                    end = now + result.ttl / 1000
                    self._kept[result.key] = (end, result.payload)
                    heapq.heappush(self._ends, (end, result.key))
            self._changed.notify_all()

    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        with self._changed:
            self._expire()
            return {key: self._kept[key][1] for key in keys if key in self._kept}

    def wait(self, key: str, timeout: float) -> bytes | None:
        with self._changed:
            self._expire()
            self._changed.wait_for(lambda: key in self._kept, timeout)
            return self._kept[key][1] if key in self._kept else None

    def remove(self, keys: Sequence[str]) -> None:
        with self._changed:
            for key in keys:
                self._kept.pop(key, None)

    def _expire(self) -> None:
        now = clock.monotonic()
        while self._ends and self._ends[0][0] <= now:
            end, key = heapq.heappop(self._ends)
            if key in self._kept and self._kept[key][0] == end:  # not one that was stored anew
                del self._kept[key]


def from_url(url: str, namespace: str) -> StubBackend:
    """The backend of a ``stub://`` URL."""
    return StubBackend(namespace=namespace)

"""Leases in memory: for tests, and for rate limits within one process."""

from __future__ import annotations

from threading import Lock

from ... import clock
from ..mutex import Mutex
from .compare_and_swap import Change, CompareAndSwapBackend, Step


class StubBackend(CompareAndSwapBackend):
    """Shared by the threads of a process and by nobody else. Its clock begins at the wall's and never jumps."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._mutexes: dict[str, Mutex] = {}
        self._started = clock.wall_ms() - clock.monotonic() * 1000

    @property
    def address(self) -> str:
        return f"stub://{id(self)}"

    def _now(self) -> int:
        return int(self._started + clock.monotonic() * 1000)

    def _change(self, key: str, step: Step) -> Change:
        with self._lock:
            before, now = self._mutexes.get(key, Mutex()), self._now()
            after = step(before, now)
            if after is not None:
                self._mutexes[key] = after
            return Change(before, after, now)

    def _read(self, key: str) -> tuple[Mutex, int]:
        with self._lock:
            return self._mutexes.get(key, Mutex()), self._now()

    def _read_held(self) -> tuple[list[tuple[str, Mutex]], int]:
        with self._lock:
            now = self._now()
            return sorted((key, mutex) for key, mutex in self._mutexes.items() if mutex.live(now)), now

    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        with self._lock:
            now = self._now()
            old = [
                key
                for key, mutex in self._mutexes.items()
                if mutex.version < (now - idle) * 1000 and not mutex.live(now)
            ][:limit]
            for key in old:
                del self._mutexes[key]
            return len(old)


def from_url(url: str) -> StubBackend:
    """The backend of a ``stub://`` URL."""
    return StubBackend()

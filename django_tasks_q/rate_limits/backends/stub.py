"""Leases in memory: for tests, and for rate limits within one process."""

from __future__ import annotations

from threading import Lock

from ... import clock
from ..admissions import Admissions, Span
from ..gathering import Arrival, Gathering, unexpected
from ..mutex import Mutex
from .compare_and_swap import Change, CompareAndSwapBackend, Step


class _Kept:
    """A gathering with the status of each member, and until when it is kept."""

    def __init__(self, parties: int, expires_at: int = 0) -> None:
        self.gathering = Gathering(parties)
        self.members: dict[str, bool] = {}
        self.expires_at = expires_at


class StubBackend(CompareAndSwapBackend):
    """Shared by the threads of a process and by nobody else. Its clock begins at the wall's and never jumps."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._mutexes: dict[str, Mutex] = {}
        self._gatherings: dict[str, _Kept] = {}
        self._admissions: dict[str, tuple[Admissions, int]] = {}  # and until when they count
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

    def admit(self, key: str, limit: int, span: Span, *, queues: bool = False) -> int:
        with self._lock:
            now = self._now()
            before, _ = self._admissions.get(key, (Admissions(), 0))
            after, wait = before.admit(now, limit, span, queues)
            self._admissions[key] = after, max(now, after.turn) + span.kept
            return wait

    def expect(self, key: str, parties: int, ttl: int) -> bool:
        with self._lock:
            if self._kept(key) is not None:
                return False
            self._gatherings[key] = _Kept(parties, self._now() + ttl)
            return True

    def gathered(self, key: str) -> Arrival | None:
        with self._lock:
            kept = self._kept(key)
            return None if kept is None else kept.gathering.as_seen_by("")

    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        with self._lock:
            kept = self._kept(key)
            if kept is None:
                if not parties:
                    raise unexpected(key)
                kept = self._gatherings[key] = _Kept(parties)
            was_ok = kept.members.get(member)
            kept.members[member] = ok or bool(was_ok)
            kept.gathering = kept.gathering.joined_by(member, was_ok, ok, parties)
            kept.expires_at = self._now() + ttl
            return kept.gathering.as_seen_by(member)

    def arrived(self, key: str) -> list[str]:
        with self._lock:
            kept = self._kept(key)
            return [] if kept is None else list(kept.members)

    def _kept(self, key: str) -> _Kept | None:
        kept = self._gatherings.get(key)
        return kept if kept is not None and kept.expires_at > self._now() else None

    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        with self._lock:
            now = self._now()
            self._admissions = {key: kept for key, kept in self._admissions.items() if kept[1] > now}
            self._gatherings = {key: kept for key, kept in self._gatherings.items() if kept.expires_at > now}
            old = [
                key
                for key, mutex in self._mutexes.items()
                if mutex.version < (now - idle) * 1000 and not mutex.live(now)
            ][:limit]
            for key in old:
                del self._mutexes[key]
            return len(old)


def from_url(url: str, namespace: str) -> StubBackend:
    """The backend of a ``stub://`` URL."""
    return StubBackend()

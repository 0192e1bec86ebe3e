"""How the mirror hears of events: scripts that tell into an empty journal publish on the channel called as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...journal import Ear
from ...waker import Waker
from .bell import Bell

if TYPE_CHECKING:
    from .store import RedisStore


class RedisEar(Ear):
    """A subscription to the journals of all queues, and to new queues: one connection for each server.

    Nothing of it is kept on the server, so one that forgets everything does not forget this. When the connection is
    gone, it rings.
    """

    def __init__(self, store: RedisStore, waker: Waker) -> None:
        self._store = store
        self._bell = Bell(store.link, waker)
        self._is_outdated = True

    def listen(self) -> None:
        queues = self._store.keys.queues
        self._bell.listen({queues: queues})
        if self._is_outdated:
            self._store.forget_queues()
            self._is_outdated = False
        journals = (self._store.keys.named(name, "journal") for name in self._store.known_queues())
        self._bell.listen({journal: journal for journal in journals})

    def has_rung(self) -> bool:
        rung = self._bell.rung()
        self._bell.take()  # rings of journals bring nothing
        self._is_outdated |= self._store.keys.queues in rung
        return bool(rung)

    def close(self) -> None:
        self._bell.close()
        self._is_outdated = True

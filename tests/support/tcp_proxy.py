"""A stretch of network between a client and a server, which a test slows down, interrupts and cuts."""

from __future__ import annotations

import select
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from math import ceil, inf

from tests.support.ports import free_port
from tests.support.private import Private
from tests.support.tcp_link import Direction, Link

__all__ = ["Direction", "TcpProxy"]


class TcpProxy(Private):
    """Listens on a port of its own and forwards to ``target``, a host and a port; ``with`` begins and ends it.

    Each of ``restore``, ``delay``, ``hold`` and ``cut`` replaces what was before and has taken effect when it returns.
    """

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        super().__init__()
        self.address = (host, free_port())
        self._target = target
        self._listener: socket.socket | None = None
        self._links: list[Link] = []
        self._held: set[Direction] = set()
        self._delay = 0.0
        self._ended = False
        self._orders: deque[tuple[Callable[[], None], threading.Event]] = deque()

    @property
    def host(self) -> str:
        return self.address[0]

    @property
    def port(self) -> int:
        return self.address[1]

    def restore(self) -> None:
        """Forward at once. What was held arrives now; after ``cut()`` clients can connect again."""
        self._order(self._become)

    def delay(self, milliseconds: float) -> None:
        """Everything arrives later by this much, in each direction."""
        self._order(lambda: self._become(delay=milliseconds / 1_000))

    def hold(self, *directions: Direction) -> None:
        """Accept connections and keep them, but let nothing through in these directions (none named: in both).

        As in a network that loses packets nothing is lost for good, and an end that closes is not noticed either.
        """
        self._order(lambda: self._become(held=set(directions or Direction)))

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._order(self._close)

    def reset_connections(self) -> None:
        """Reset all connections; clients can connect again at once."""
        self._order(self._reset_links)

    def lead_to(self, target: tuple[str, int]) -> None:
        """New connections go there; those that are open stay where they are."""
        self._order(lambda: setattr(self, "_target", target))

    def enter(self, held: ExitStack) -> None:
        self._ring, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._become()
        thread.start()
        held.callback(self._ring.close)
        held.callback(self._bell.close)
        held.callback(thread.join)
        held.callback(self._order, self._end)

    def _order(self, what: Callable[[], None]) -> None:
        """Have it done by the thread that owns the connections."""
        done = threading.Event()
        self._orders.append((what, done))
        self._ring.send(b"!")
        assert done.wait(10), "the proxy does not react"

    def _become(self, held: set[Direction] | None = None, delay: float = 0.0) -> None:
        self._held, self._delay = held or set(), delay
        if self._listener is None:
            self._listener = socket.create_server(self.address)
            self._listener.setblocking(False)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._reset_links()

    def _reset_links(self) -> None:
        for link in self._links:
            link.reset()
        self._links.clear()

    def _end(self) -> None:
        self._close()
        self._ended = True

    def _run(self) -> None:
        while not self._ended:
            self._wait()
            self._obey()
            self._accept()
            for link in self._links:
                link.move(self._target, self._held, self._delay)
            self._links = [link for link in self._links if not link.is_over]

    def _wait(self) -> None:
        """Until something can be done: read, write, accept, obey; or something delayed is due."""
        wanted: defaultdict[int, int] = defaultdict(int, {self._bell.fileno(): select.POLLIN})
        if self._listener is not None:
            wanted[self._listener.fileno()] = select.POLLIN
        flows = [flow for link in self._links for flow in link.flows(self._held)]
        for flow in flows:
            flow.want(wanted)
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        left = min((flow.milliseconds_left() for flow in flows), default=inf)
        poll.poll(None if left == inf else ceil(left))

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while self._listener is not None:
                self._links.append(Link(self._listener.accept()[0]))

    def _obey(self) -> None:
        with suppress(BlockingIOError):
            while self._bell.recv(1):
                what, done = self._orders.popleft()
                what()
                done.set()

"""The leases of the workers that the generation says are alive."""

from __future__ import annotations

from collections.abc import Callable

from ..broker import Broker
from ..errors import BrokerError
from ..worker.board import ALIVE, Board
from ..worker.lease import renew
from .service import Service


class Leases(Service):
    """Renews three times a lease. Workers do not renew their own: code that holds their lock would cost them theirs.

    Until when each has it is on the board, counted from when the renewal was sent: the store counts from later.

    Parameters:
        on_trouble: called when they could not be renewed: they may run out though the workers live.
    """

    def __init__(self, broker: Broker, board: Board, on_trouble: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._broker = broker
        self._board = board
        self._on_trouble = on_trouble
        self.interval = broker.lease / 3000

    def work(self) -> None:
        try:
            renew(self._broker, [region for region in self._board if region.presence == ALIVE])
        except BrokerError:
            self._on_trouble()
            raise

"""The leases of the workers that the generation says are alive."""

from __future__ import annotations

from ..broker import Broker
from ..worker.board import ALIVE, Board
from ..worker.lease import renew
from .service import Service


class Leases(Service):
    """Renews three times a lease. Workers do not renew their own: code that holds their lock would cost them theirs.

    Until when each has it is on the board, counted from when the renewal was sent: the store counts from later.
    """

    def __init__(self, broker: Broker, board: Board) -> None:
        super().__init__()
        self._broker = broker
        self._board = board
        self.interval = broker.lease / 3000

    def work(self) -> None:
        renew(self._broker, [region for region in self._board if region.presence == ALIVE])

"""The leases of the workers that the generation says are alive."""

from __future__ import annotations

from ..broker import Broker
from ..worker.board import ALIVE, Board
from .service import Service


class Leases(Service):
    """Renews three times a lease. Workers do not renew their own: code that holds their lock would cost them theirs."""

    def __init__(self, broker: Broker, board: Board) -> None:
        super().__init__()
        self._broker = broker
        self._board = board
        self.interval = broker.lease / 3000

    def work(self) -> None:
        self._broker.renew([region.worker_id for region in self._board if region.presence == ALIVE])

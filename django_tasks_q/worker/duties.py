"""The keeper's duties for a worker that has no keeper: its lease and the rescue of others, in a thread of its own."""

from __future__ import annotations

from threading import Event, Thread

from ..broker import Broker
from ..errors import BrokerError
from ..judge import make_judge
from ..logging import get_logger

logger = get_logger(__name__)

RESCUE_INTERVAL = 5.0


class Duties(Thread):
    """Renews one worker's lease three times a lease, and rescues what dead workers left behind."""

    def __init__(self, broker: Broker, worker_id: str) -> None:
        super().__init__(daemon=True, name="Duties")
        self._broker = broker
        self._worker_id = worker_id
        self._judge = make_judge(broker)
        self._ending = Event()

    def run(self) -> None:
        while not self._ending.wait(min(RESCUE_INTERVAL, self._broker.lease / 3000)):
            try:
                self._broker.renew([self._worker_id])
                self._broker.rescue(self._judge)
            except BrokerError as error:
                logger.warning("The lease could not be renewed (%s); trying again.", error)
            except Exception:
                logger.exception("The duties stumbled.")
        self._broker.close()

    def stop(self) -> None:
        self._ending.set()
        if self.is_alive():
            self.join(5)

"""The rescue of what workers of lost hosts had claimed."""

from __future__ import annotations

from collections.abc import Callable

from .. import clock
from ..broker import Broker
from ..deliveries import Judge
from ..errors import BrokerError
from ..logging import get_logger
from .service import Service

logger = get_logger(__name__)


class Rescuer(Service):
    """Buries workers whose lease ran out, by the store's clock, and says when messages wait that must run alone.

    Every keeper of every host does this; rescuing twice is harmless. While the broker was gone, or the machine slept,
    nobody could renew a lease, so after that the living get a whole lease to do so before anybody is taken for dead.
    """

    interval = 5.0

    def __init__(
        self,
        broker: Broker,
        judge: Judge,
        on_suspects: Callable[[], None],
        on_burial: Callable[[str], None] = lambda worker_id: None,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._judge = judge
        self._on_suspects = on_suspects
        self._on_burial = on_burial
        self._patient_until = 0.0
        self._jumps = clock.JumpWatch()

    def work(self) -> None:
        try:
            if self._jumps.has_jumped():  # the store may be on this machine: all leases look as if they were over
                self._be_patient()
            if clock.monotonic() >= self._patient_until:
                self._rescue()
            if self._broker.has_suspects():
                self._on_suspects()
        except BrokerError:
            self._be_patient()
            raise

    def _be_patient(self) -> None:
        self._patient_until = clock.monotonic() + self._broker.lease / 1000

    def _rescue(self) -> None:
        for worker_id in self._broker.rescue(self._judge):
            logger.warning("Worker %s is gone; what it held was given back.", worker_id)
            self._on_burial(worker_id)

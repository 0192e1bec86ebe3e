"""The rescue of what workers of lost hosts had claimed."""

from __future__ import annotations

from collections.abc import Callable

from ..broker import Broker
from ..deliveries import Judge
from ..errors import BrokerError
from ..logging import get_logger
from ..worker.patience import Patience
from .service import Service

logger = get_logger(__name__)


class Rescuer(Service):
    """Buries workers whose lease ran out, by the store's clock, and says when messages wait that must run alone.

    Every keeper of every host does this, with patience; rescuing twice is harmless.
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
        self._patience = Patience(broker)

    def be_patient(self) -> None:
        """Leave everybody a whole lease from now on: some could not be renewed, though their workers live."""
        self._patience.begin()

    def work(self) -> None:
        try:
            if self._patience.is_over():
                self._rescue()
            if self._broker.has_suspects():
                self._on_suspects()
        except BrokerError:
            self._patience.begin()
            raise

    def _rescue(self) -> None:
        for worker_id in self._broker.rescue(self._judge):
            logger.warning("Worker %s is gone; what it held was given back.", worker_id)
            self._on_burial(worker_id)

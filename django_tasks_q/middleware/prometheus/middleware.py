"""What is counted, and when."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ... import clock
from ...deliveries import MessageProxy
from ...logging import get_logger
from ...outcomes import Outcome, Parked, Requeue, Retry
from ..middleware import Middleware
from .folder import folder_of

if TYPE_CHECKING:
    from ...broker import Broker
    from .tally import Series, Tally

logger = get_logger(__name__)


class Prometheus(Middleware):
    """Counts messages by queue and actor, and has the sums of all worker processes served over HTTP beside them.

    Only worker processes count, and only there is the client library imported.

    Parameters:
        http_host: the address on which the metrics are served; Dramatiq's ``dramatiq_prom_host`` of the environment
            when it is None, else 127.0.0.1.
        http_port: its port; ``dramatiq_prom_port`` when it is None, else 9191.
        prefix: what the names of the metrics begin with; ``dramatiq`` for dashboards made for Dramatiq.
    """

    def __init__(
        self, *, http_host: str | None = None, http_port: int | None = None, prefix: str = "django_tasks_q"
    ) -> None:
        self.http_host = http_host or os.environ.get("dramatiq_prom_host", "127.0.0.1")  # noqa: SIM112
        port = os.environ.get("dramatiq_prom_port", "9191") if http_port is None else http_port  # noqa: SIM112
        if not str(port).isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"http_port is a port, from 1 to 65535: {port!r}")
        if not re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", prefix):
            raise ValueError(f"prefix begins the names of metrics, so it has letters, digits and _: {prefix!r}")
        self.http_port = int(port)
        self.prefix = prefix
        self._tally: Tally | None = None
        self._running: dict[int, tuple[Series, float]] = {}

    @property
    def forks(self) -> Sequence[Callable[[], object]]:
        return [self._serve]

    def _serve(self) -> None:
        from .exposition import serve

        serve(self.http_host, self.http_port, self._folder())

    def _folder(self) -> str:
        """The generation is the parent of its workers and of who serves what they count."""
        return folder_of(os.getppid(), self.http_port)

    # In a worker

    def after_process_boot(self, broker: Broker) -> None:
        from .tally import Tally

        self._running.clear()
        self._tally = Tally(self._folder(), self.prefix)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if self._tally is None:
            return
        try:
            series = self._tally.series(message.queue_name, message.actor_name)
            series.begin()
        except Exception:
            # No message fails for want of a count.
            logger.exception("This process counts its messages no more.")
            self._tally = None
            return
        # The proxy lives until its outcome is known, so nothing else has its identity; its message may run here twice.
        self._running[id(message)] = series, clock.monotonic()

    def after_outcome(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        outcome: Outcome,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """An attempt that does not count, because it was interrupted or has to wait, is not counted here either."""
        if self._tally is None:
            return
        began = self._running.pop(id(message), None)
        counts = not isinstance(outcome, Parked | Requeue)
        if began is not None:
            series, since = began
            series.end((clock.monotonic() - since) * 1000 if counts else None)
        elif counts:
            # A middleware before this one skipped or failed it.
            series = self._tally.series(message.queue_name, message.actor_name)
        if counts:
            series.count(failed=exception is not None, retried=isinstance(outcome, Retry))

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        if self._tally is not None:
            self._tally.series(message.queue_name, message.actor_name).reject()

"""Before any process is started: is the broker there?"""

from __future__ import annotations

import time

from ..broker import get_broker
from ..errors import BrokerConnectionError
from ..logging import get_logger

logger = get_logger(__name__)


def wait_for_broker(timeout: float, interval: float = 0.5) -> None:
    """Wait until the broker can be reached, at most ``timeout`` seconds.

    BrokerNotReady at once when its tables are missing, BrokerConnectionError when the time is up.
    """
    broker = get_broker()
    end = time.monotonic() + timeout
    while True:
        try:
            return broker.check_ready()
        except BrokerConnectionError as error:
            if time.monotonic() + interval > end:
                raise
            logger.warning("Waiting for the broker: %s", error)
        time.sleep(interval)

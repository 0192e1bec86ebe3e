"""The leases of workers, renewed from outside of the threads that rely on them."""

from __future__ import annotations

from collections.abc import Sequence

from .. import clock
from ..broker import Broker, Consumer
from ..deliveries import WorkerInfo
from .board import Region

TRUSTED = 0.8
"""How much of a lease a worker relies on: in the rest of it nothing begins, so that what takes a moment is settled
before others may be given it. It is renewed when a third of it is over; only a late keeper lets it come to that."""


def begin(broker: Broker, worker: WorkerInfo, region: Region) -> Consumer:
    """Open the consumer of a worker, and write on the board until when it has the lease that begins with that.

    A worker that is cut off before its first renewal knows by this when others may have been given what it holds.
    Errors as :meth:`Broker.consume`.
    """
    asked = clock.monotonic()
    consumer = broker.consume(worker)
    if broker.has_leases:
        region.set_lease(asked + broker.lease / 1000 * TRUSTED)
    return consumer


def renew(broker: Broker, regions: Sequence[Region]) -> None:
    """Renew the leases of these workers, and write on the board until when they have them.

    Counted from before the broker was asked, so never longer than by the store's own clock; who was buried keeps what
    the board said. Raises a BrokerError when the broker cannot be reached: then nothing is known of a renewal.
    """
    asked = clock.monotonic()
    by_id = {region.worker_id: region for region in regions}
    for worker_id in broker.renew(list(by_id)) or ():
        by_id[worker_id].set_lease(asked + broker.lease / 1000 * TRUSTED)

"""What workers do besides, as the settings describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..broker import Broker

if TYPE_CHECKING:
    from ..keeper.services import ServiceThreads
    from ..worker.board import Region


def make_worker_services(broker: Broker, region: Region, maintenance: bool) -> ServiceThreads:
    """What a worker without a keeper does besides; without ``maintenance`` only what nobody else does for
    it: it looks after the leases that its actors hold, and tells it of revocations and pauses."""
    # The tables exist only once apps are ready.
    from ..keeper.services import ServiceThreads, make_services, own_services

    return ServiceThreads(make_services(broker, [region]) if maintenance else own_services(broker, [region]))

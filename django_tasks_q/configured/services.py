"""What workers do besides, as the settings describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..broker import Broker

if TYPE_CHECKING:
    from ..keeper.services import ServiceThreads
    from ..worker.board import Region


def make_worker_services(broker: Broker, region: Region) -> ServiceThreads | None:
    """What a worker without a keeper does besides; None when nothing needs doing."""
    from ..keeper.services import ServiceThreads, make_services  # the tables exist only once apps are ready

    services = make_services(broker, [region])
    return ServiceThreads(services) if services else None

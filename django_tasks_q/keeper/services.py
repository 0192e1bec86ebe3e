"""The services that need a database: what they are, and the threads that run them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Thread

from django.db import connections

from .. import clock, records_database
from ..broker import Broker
from ..brokers.stub import StubBroker
from ..logging import get_logger
from ..rules import control_store
from ..sql import Database
from ..waker import Waker
from ..worker.board import Region
from ..worker.worker import new_worker_id
from .control import ControlService, Sweeper
from .gathered import Gathered
from .groups import Groups
from .mirror_service import MirrorService
from .mutex_mirror import MutexMirror
from .mutexes import Mutexes
from .pruner import Pruner
from .reconciler import Reconciler
from .relay import Relay
from .sampler import QueueSampler, WorkerSampler
from .scheduler import Scheduler
from .service import Service
from .unique_keys import UniqueKeys
from .waiting_service import Intake, Release

logger = get_logger(__name__)

_LONGEST_WAIT = 5.0


def make_services(
    broker: Broker, board: Iterable[Region] = (), queues: Sequence[str] = (), owner: str = ""
) -> list[Service]:
    """The services of ``broker``. The stub is for tests and writes to no database: only leases are looked after.

    Parameters:
        board: the workers to tell about, those of this keeper.
        queues: what they were told to work on; empty for everything.
        owner: of the leases of those that need one; one of its own when not given.
    """
    own = own_services(broker, board)
    if isinstance(broker, StubBroker):
        return own
    owner = owner or new_worker_id()
    database = Database(records_database.alias(broker))
    store = control_store(broker)
    return [
        *own,
        *([] if store is None else [Sweeper(broker, store, database, owner)]),
        Relay(broker, owner),
        WorkerSampler(broker, database, board, queues),
        QueueSampler(broker, database, owner),
        Pruner(broker, database, owner),
        Reconciler(broker, database, owner),
        Groups(broker, database, owner),
        Gathered(broker, database, owner),
        MutexMirror(database, board),
        Scheduler(broker, database, owner),
        *([] if broker.journal is None else [MirrorService(broker, owner)]),
        *([] if not broker.keys_in_rows else [UniqueKeys(broker, database, owner)]),
        *([Intake(broker, database), Release(broker, database)] if broker.waits_in_rows else []),
    ]


def own_services(broker: Broker, board: Iterable[Region]) -> list[Service]:
    """What nobody else does for the workers of this board."""
    store = control_store(broker)
    return [
        Mutexes(board, broker),
        *([] if store is None or store.is_at_hand else [ControlService(store, board)]),
    ]


class ServiceThread(Thread):
    """Runs services in a thread of its own, which may wait for their database; the leases of workers must not."""

    def __init__(self, services: Sequence[Service], name: str = Service.thread) -> None:
        super().__init__(daemon=True, name=name)
        self._services = services
        self._buried: deque[str] = deque()
        self._waker: Waker | None = None
        self._ending = False

    def run(self) -> None:
        self._waker = waker = Waker()
        for service in self._services:
            service.attend(waker)
        while not self._ending:
            self._announce()
            for service in self._services:
                if not self._ending:
                    service.run_if_due()
            waker.wait(min((service.seconds_left for service in self._services), default=_LONGEST_WAIT))
        self._announce()
        for service in self._services:
            service.run_last()
        waker.close()
        connections.close_all()

    def _announce(self) -> None:
        while self._buried:
            worker_id = self._buried.popleft()
            for service in self._services:
                service.hear_of(worker_id)

    def buried(self, worker_id: str) -> None:
        """Tell the services, from any thread, that a worker was buried."""
        self._buried.append(worker_id)
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None:  # or else it is about to look for the first time
            self._waker.wake()

    def end(self) -> None:
        """End after the service that runs now; returns at once."""
        self._ending = True
        self._wake()

    def stop(self, timeout: float = 5.0) -> None:
        """End after the service that runs now; when that takes longer than ``timeout`` seconds it is left alone."""
        self.end()
        if self.is_alive():
            self.join(timeout)


class ServiceThreads:
    """Services in the threads that they name."""

    def __init__(self, services: Sequence[Service]) -> None:
        names = dict.fromkeys(service.thread for service in services)
        self._threads = [ServiceThread([one for one in services if one.thread == name], name) for name in names]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def buried(self, worker_id: str) -> None:
        """As :meth:`ServiceThread.buried`."""
        for thread in self._threads:
            thread.buried(worker_id)

    def stop(self, timeout: float = 5.0) -> None:
        """As :meth:`ServiceThread.stop`, all at once."""
        until = clock.monotonic() + timeout
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.stop(max(0.0, until - clock.monotonic()))

"""The thread that looks at the slots ten times a second."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from threading import Event, Thread

from .. import clock
from ..errors import TimeLimitExceeded
from ..logging import get_logger
from .board import Region
from .control_watch import ControlWatch
from .io_loop import ConsumerThread
from .slot import Slot

logger = get_logger(__name__)

INTERVAL = 0.1
MOMENT = 200
"""Milliseconds after which a running message is journalled as started; shorter ones cost one event at their end."""

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of how far messages are, all of them together: one trip more, whatever their number."""

PROGRESS_PACE = 0.002
"""Seconds that each of them adds where there are many: a report takes a database 0.2 ms, and others wait meanwhile."""


class Ticker(Thread):
    """Ends what is over its time limit, reports what runs for longer than a moment and how far it is, keeps the board's
    numbers fresh.

    It cannot help when people's code holds the interpreter's lock; then the generation acts on the board's deadline.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        region: Region,
        io: ConsumerThread,
        *,
        control: ControlWatch,
        on_condemned: Callable[[], None],
        wants_retirement: Callable[[], bool],
    ) -> None:
        super().__init__(daemon=True, name="Ticker")
        self._slots = slots
        self._region = region
        self._io = io
        self._control = control
        self._on_condemned = on_condemned
        self._wants_retirement = wants_retirement
        self._condemned = False
        self._progress_at = 0.0
        self._ending = Event()

    def run(self) -> None:
        ticks = 0
        while not self._ending.wait(INTERVAL):
            try:
                self._look_at_slots()
                self._control.look()
                if ticks % 5 == 0:
                    self.report()
            except Exception:
                logger.exception("The ticker stumbled.")
            ticks += 1

    def end(self) -> None:
        self._ending.set()

    def _look_at_slots(self) -> None:
        now, wall, reports = clock.monotonic(), clock.wall_ms(), 0
        # While the broker does not answer, reports do not pile up: the latest progress is told when it does.
        tells_progress = now >= self._progress_at and not self._io.has_reports
        for slot in self._slots:
            deadline = slot.deadline
            if deadline is not None and now >= deadline and not slot.interrupted:
                slot.interrupt_overdue(TimeLimitExceeded)
            running = slot.running_since()
            if running is not None and wall - running[1] >= MOMENT:
                report = slot.news(*running, of_progress=tells_progress)
                if report is not None:
                    reports += 1
                    self._io.report_started(report)
        if tells_progress:
            self._progress_at = now + max(PROGRESS_INTERVAL, reports * PROGRESS_PACE)
        if not self._condemned and self._region.condemned_at:
            self._condemned = True
            self._on_condemned()

    def report(self) -> None:
        """Put the numbers of this process on the board."""
        self._region.report(self._io.processed, self._io.failed, memory(), self._wants_retirement())


def memory() -> int:
    """Resident bytes of this process; on systems without /proc the highest value it ever had."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

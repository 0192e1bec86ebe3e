"""A generation: Django set up once, then workers and a keeper forked from it.

One thread and no connections, so forking is safe. It makes the board, reaps the dead, starts replacements with
back-off, ends what outlives its hard deadline, and tells the supervisor how things are.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import threading
import warnings
from collections.abc import Callable

from .. import clock
from ..logging import get_logger
from ..worker.board import ALIVE, EMPTY, STOPPED, Region
from ..worker.worker import new_worker_id
from .channel import Channel, Note
from .child import Child
from .forks import Forks
from .launch import Forking, Launcher, Spawning
from .options import Options
from .recycling import reason_to_retire
from .signals import Signals, describe

logger = get_logger(__name__)

TICK = 0.1
_RECYCLE_INTERVAL = 0.5
_MOST_BOOT_FAILURES = 10
_SHORTEST_BACKOFF, _LONGEST_BACKOFF = 0.05, 10.0
_STEADY_AFTER = 5.0
"""Seconds after which a worker counts as booted well; one that dies earlier makes its successor wait longer."""

_KEEPER_TIMEOUT = 5.0
_STARTS_AT_ONCE = 16
"""Workers started between two looks at signals and at the supervisor."""
"""Seconds that the keeper gets at the end to bury who has to be, and then to go."""


class Generation:
    """Runs until its supervisor says stop or is gone.

    Parameters:
        supervisor: the channel to it.
        prepare_fork: called before each fork; closes what must not be shared (database connections).
    """

    def __init__(self, options: Options, supervisor: Channel, prepare_fork: Callable[[], None]) -> None:
        self._options = options
        self._supervisor = supervisor
        regions = 2 * options.processes + 2
        self._launcher: Launcher = (
            Spawning(options, regions) if options.spawns else Forking(options, regions, prepare_fork, self._let_go)
        )
        self._board = self._launcher.board
        self._forks = Forks(self._launcher)
        self._children: dict[int, Child] = {}
        self._graves: list[Note] = []
        self._keeper_name = new_worker_id()
        self._keeper_pid = 0
        self._keeper: Channel | None = None
        self._keeper_starts_at = self._keeper_born = 0.0
        self._keeper_failures = 0
        self._give_up_at: float | None = None
        self._life_reader, self._life_writer = os.pipe()
        self._starts_at = 0.0
        self._failures = 0
        self._wanted = options.processes
        self._stopping = False
        self._exit_code = 0
        self._ready_sent = False
        self._processed = 0
        self._failed = 0
        self._recycle_at = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """The whole life of the generation; returns its exit code."""
        self._signals = Signals([signal.SIGCHLD, signal.SIGTERM], ignored=[signal.SIGINT, signal.SIGHUP])
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._selector.register(self._supervisor, selectors.EVENT_READ)
        if not self._options.spawns:
            _warn_of_threads()
            gc.collect()
            gc.freeze()  # what is loaded now stays shared: no collection of a child writes to its pages
        self._forks.start(self._life_reader)
        while not self._is_over():
            self._start_missing_keeper()
            self._start_missing()
            self._restart_forks()
            self._wait()
            self._reap()
            self._listen()
            self._enforce()
            self._tell_ready()
        self._forks.end()
        self._end_keeper()
        self._supervisor.send(kind="bye", processed=self._processed, failed=self._failed)
        return self._exit_code

    def _is_over(self) -> bool:
        if self._children:
            return False
        if self._stopping:
            return not self._graves or self._is_out_of_patience()
        return self._options.burst and self._wanted <= 0 and not self._graves

    def _is_out_of_patience(self) -> bool:
        """The last worker has ended, and the keeper cannot bury the dead: the broker is gone, or the keeper itself."""
        now = clock.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + _KEEPER_TIMEOUT
        if now < self._give_up_at:
            return False
        logger.error("%d dead workers are not buried yet; when their leases run out others will.", len(self._graves))
        return True

    def _wait(self) -> None:
        for key, _ in self._selector.select(TICK):
            if key.fileobj is self._signals and signal.SIGTERM in self._signals.arrived():
                self._stop()

    # Children

    def _start_missing(self) -> None:
        if self._stopping:
            return
        now = clock.monotonic()
        serving = sum(not child.quarantine and not child.stopping for child in self._children.values())
        for _ in range(min(self._wanted - serving, _STARTS_AT_ONCE)):
            if self._failures and now < self._starts_at:
                return
            region = self._free_region()
            if region is None:
                return
            self._start_worker(region, quarantine=False)

    def _restart_forks(self) -> None:
        if not self._stopping and self._forks.start_due(self._life_reader):
            self._tell_children()

    def _free_region(self) -> Region | None:
        return next((region for region in self._board if region.presence == EMPTY), None)

    def _start_worker(self, region: Region, *, quarantine: bool) -> None:
        worker_id = new_worker_id()
        region.assign(worker_id, 0)
        pid = self._launcher.worker(region, worker_id, self._life_reader, quarantine=quarantine)
        region.set_pid(pid)
        self._children[pid] = Child(pid, region, worker_id, quarantine=quarantine)
        self._tell_children()

    def _let_go(self) -> None:
        """In the child: everything that belongs to the generation."""
        self._signals.close()
        self._selector.close()
        os.close(self._life_writer)
        self._supervisor.close()
        if self._keeper is not None:
            self._keeper.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                self._note_pause(pid, os.WIFSTOPPED(status))
            elif pid == self._keeper_pid:
                self._replace_keeper(status)
            elif pid in self._forks.pids:
                self._forks.reap(pid, status)
            elif pid in self._children:
                self._bury(self._children.pop(pid), status)

    def _note_pause(self, pid: int, stopped: bool) -> None:
        child = self._children.get(pid)
        if child is not None:
            child.region.mark(STOPPED if stopped else ALIVE)

    def _bury(self, child: Child, status: int) -> None:
        grave = child.grave(status)
        self._processed += child.region.processed
        self._failed += child.region.failed
        if grave is not None and self._options.maintenance:  # else another host's keeper finds it, by its lease
            self._graves.append(grave)
            self._tell_keeper(grave)
        expected = child.stopping or (self._options.burst and os.waitstatus_to_exitcode(status) == 0)
        if child.quarantine:
            logger.info("The quarantine worker (PID %d) %s.", child.pid, describe(status))
        elif expected:
            self._wanted -= self._options.burst and not child.stopping
        else:
            self._plan_replacement(child, describe(status))
        child.forget()
        self._tell_children()

    def _plan_replacement(self, child: Child, how: str) -> None:
        self._failures = 0 if child.region.is_ready and child.age > _STEADY_AFTER else self._failures + 1
        pause = 0.0 if child.region.is_ready and self._failures < 4 else _backoff(self._failures)
        self._starts_at = clock.monotonic() + pause
        logger.error("Worker (PID %d) %s; a new one starts%s.", child.pid, how, f" in {pause:.1f} s" if pause else "")
        if not child.region.is_ready and self._failures >= _MOST_BOOT_FAILURES:
            logger.critical("Workers died %d times while they booted; giving up.", self._failures)
            self._exit_code = 1
            self._stop()

    def _enforce(self) -> None:
        """Hard deadlines ten times a second, old age now and then."""
        grace, timeout = self._options.time_limit_grace / 1000, self._options.shutdown_timeout / 1000
        for child in self._children.values():
            child.enforce(grace, timeout)
        now = clock.monotonic()
        if now < self._recycle_at or self._stopping:
            return
        self._recycle_at = now + _RECYCLE_INTERVAL
        for child in list(self._children.values()):
            reason = None if child.stopping else reason_to_retire(child.region, child.age, self._options)
            if reason is not None and not child.quarantine and self._free_region() is not None:
                logger.info("Worker (PID %d) is replaced: %s.", child.pid, reason)
                child.stop(self._options.shutdown_timeout / 1000)

    # The keeper

    def _start_missing_keeper(self) -> None:
        if self._options.maintenance and self._keeper is None and clock.monotonic() >= self._keeper_starts_at:
            self._start_keeper()

    def _start_keeper(self) -> None:
        ours, theirs = Channel.pair()
        self._keeper = ours
        self._keeper_born = clock.monotonic()
        self._keeper_pid = self._launcher.keeper(theirs, self._life_reader, self._keeper_name)
        theirs.close()
        self._selector.register(ours, selectors.EVENT_READ)
        for grave in self._graves:
            ours.send(**grave)
        self._tell_children()

    def _replace_keeper(self, status: int) -> None:
        if self._keeper is not None:
            self._selector.unregister(self._keeper)
            self._keeper.close()
            self._keeper = None
        now = clock.monotonic()
        self._keeper_failures = 0 if now - self._keeper_born > _STEADY_AFTER else self._keeper_failures + 1
        pause = 0.0 if self._keeper_failures < 4 else _backoff(self._keeper_failures)
        self._keeper_starts_at = now + pause
        after = f" in {pause:.1f} s" if pause else ""
        logger.error("The keeper (PID %d) %s; a new one starts%s.", self._keeper_pid, describe(status), after)
        self._keeper_pid = 0

    def _end_keeper(self) -> None:
        """Told last: it has buried everybody who had to be."""
        if self._keeper is None:
            return
        self._keeper.send(kind="stop")
        end = clock.monotonic() + (0.0 if self._graves else _KEEPER_TIMEOUT)
        while clock.monotonic() < end:
            pid, _ = os.waitpid(self._keeper_pid, os.WNOHANG)
            if pid:
                return
            self._selector.select(0.02)
            self._signals.arrived()
        os.kill(self._keeper_pid, signal.SIGKILL)
        os.waitpid(self._keeper_pid, 0)

    def _tell_keeper(self, grave: Note) -> None:
        if self._keeper is not None:
            self._keeper.send(**grave)

    # Conversation

    def _listen(self) -> None:
        for note in self._supervisor.receive():
            if note["kind"] == "stop":
                self._stop()
            elif note["kind"] == "kill":
                self._stop()
                for child in self._children.values():
                    child.kill()
        if self._supervisor.closed and not self._stopping:
            logger.error("The supervisor is gone; this generation stops.")
            self._exit_code = 1
            self._stop()
        if self._keeper is not None:
            for note in self._keeper.receive():
                self._hear_keeper(note)

    def _hear_keeper(self, note: Note) -> None:
        if note["kind"] == "buried":
            self._graves = [grave for grave in self._graves if grave["worker_id"] != note["worker_id"]]
        elif note["kind"] == "suspects" and not self._stopping:
            if any(child.quarantine for child in self._children.values()):
                return
            region = self._free_region()
            if region is not None:
                self._start_worker(region, quarantine=True)

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children.values():
            child.stop(self._options.shutdown_timeout / 1000)

    def _tell_ready(self) -> None:
        serving = [child for child in self._children.values() if not child.quarantine]
        if self._ready_sent or self._stopping or len(serving) < self._wanted:
            return
        if all(child.region.is_ready for child in serving):
            self._ready_sent = True
            self._supervisor.send(kind="ready")

    def _tell_children(self) -> None:
        """The supervisor must know whom to end should this generation die."""
        pids = [*self._children, *self._forks.pids] + ([self._keeper_pid] if self._keeper_pid else [])
        self._supervisor.send(kind="children", pids=pids)


def _backoff(failures: int) -> float:
    """Seconds to wait before what has died so often is started again."""
    return float(min(_LONGEST_BACKOFF, _SHORTEST_BACKOFF * 2**failures))


def _warn_of_threads() -> None:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        warnings.warn(
            f"Threads are running before the fork ({', '.join(others)}); they will not exist in the workers and may "
            "leave locks behind. If workers hang, start runworkers with --use-spawn.",
            RuntimeWarning,
            stacklevel=2,
        )

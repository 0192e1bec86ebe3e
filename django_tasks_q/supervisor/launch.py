"""How a generation starts its processes: by forking itself, or as fresh interpreters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from ..broker import get_broker
from ..keeper.keeper import Keeper
from ..logging import get_logger
from ..worker.board import Board, Region
from ..worker.worker import places
from .channel import Channel
from .command_line import again, with_greenlets
from .fork_process import run_fork_process
from .options import Options
from .worker_process import run_worker_process

logger = get_logger(__name__)

ENVIRONMENT = "DJANGO_TASKS_Q_ROLE"
"""What a fresh interpreter is to be, as JSON (a :class:`Role`)."""


class Role(msgspec.Struct, frozen=True):
    """One process of a generation; descriptors are inherited. With ``channel`` the keeper, with ``region`` a worker,
    with ``fork`` what middleware wants to run beside them.

    ``name``: the worker's id, or under which the keeper leads the services.
    """

    workers: int
    slots: int
    board: int
    life: int
    channel: int | None = None
    region: int | None = None
    fork: int | None = None
    name: str = ""
    quarantine: bool = False


class Launcher(ABC):
    """Starts processes of a generation; each method returns a pid."""

    board: Board

    @abstractmethod
    def worker(self, region: Region, worker_id: str, life: int, *, quarantine: bool) -> int: ...

    @abstractmethod
    def keeper(self, channel: Channel, life: int, name: str) -> int: ...

    @abstractmethod
    def fork(self, number: int, life: int) -> int: ...


class Forking(Launcher):
    """Forks: no second set-up, memory is shared. The generation must have no threads and no connections.

    Parameters:
        prepare: called before each fork; closes what must not be shared.
        let_go: called in each child; closes what belongs to the generation.
    """

    def __init__(self, options: Options, regions: int, prepare: Callable[[], None], let_go: Callable[[], None]) -> None:
        self.board = Board(regions, _places(options))
        self._options = options
        self._prepare = prepare
        self._let_go = let_go

    def worker(self, region: Region, worker_id: str, life: int, *, quarantine: bool) -> int:
        def run() -> int:
            region.set_pid(os.getpid())
            return run_worker_process(self._options, region, worker_id, life, quarantine=quarantine)

        return self._fork(run)

    def keeper(self, channel: Channel, life: int, name: str) -> int:
        return self._fork(lambda: _keep(self._options, self.board, channel, name))

    def fork(self, number: int, life: int) -> int:
        return self._fork(lambda: run_fork_process(number, life))

    def _fork(self, run: Callable[[], int]) -> int:
        self._prepare()
        # A stop that comes before the child has handlers of its own would be taken by those it inherits, and be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return pid
        code = 1
        try:
            self._let_go()
            code = run()
        except BaseException:
            logger.critical("The process could not go on.", exc_info=True)
        finally:
            _flush_output()
            os._exit(code)


class Spawning(Launcher):
    """Starts fresh interpreters with the command line of this one: slower, but safe beside threads and odd libraries.

    The board is an unlinked temporary file that they map as well. With greenlets only the workers are patched, each
    from its first moment on; the others have no use for it.
    """

    def __init__(self, options: Options, regions: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="django_tasks_q-board-")  # noqa: SIM115 - for as long as we live
        self._slots = _places(options)
        self._file.truncate(Board.size(regions, self._slots))
        self.board = Board(regions, self._slots, self._file.fileno())
        self._options = options
        self._regions = regions
        self._command = with_greenlets() if options.use_gevent else again()

    def worker(self, region: Region, worker_id: str, life: int, *, quarantine: bool) -> int:
        index = self.board.regions.index(region)
        return self._spawn(self._command, self._role(life, region=index, name=worker_id, quarantine=quarantine))

    def keeper(self, channel: Channel, life: int, name: str) -> int:
        return self._spawn(again(), self._role(life, channel=channel.fileno(), name=name))

    def fork(self, number: int, life: int) -> int:
        return self._spawn(again(), self._role(life, fork=number))

    def _role(
        self,
        life: int,
        *,
        channel: int | None = None,
        region: int | None = None,
        fork: int | None = None,
        name: str = "",
        quarantine: bool = False,
    ) -> Role:
        board = self._file.fileno()
        return Role(self._regions, self._slots, board, life, channel, region, fork, name, quarantine)

    def _spawn(self, command: list[str], role: Role) -> int:
        inherited = [role.board, role.life, *([] if role.channel is None else [role.channel])]
        process = subprocess.Popen(
            command,
            env={**os.environ, ENVIRONMENT: msgspec.json.encode(role).decode()},
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
        )
        process.returncode = 0  # reaped by the generation itself, not by Popen
        return process.pid


def run_role(options: Options, role: Role) -> int:
    """In a fresh interpreter: be what the generation wants. Returns an exit code."""
    board = Board(role.workers, role.slots, role.board)
    if role.channel is not None:
        return _keep(options, board, Channel.from_descriptor(role.channel), role.name)
    if role.fork is not None:
        return run_fork_process(role.fork, role.life)
    assert role.region is not None
    region = board.regions[role.region]
    region.set_pid(os.getpid())
    return run_worker_process(options, region, role.name, role.life, quarantine=role.quarantine)


def _keep(options: Options, board: Board, channel: Channel, name: str) -> int:
    timeout = options.shutdown_timeout / 1000
    return Keeper(get_broker(), board, channel, name, shutdown_timeout=timeout, queues=list(options.queues)).run()


def _places(options: Options) -> int:
    """For each worker process, on the board."""
    return places(get_broker(), options.threads, options.async_concurrency)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a closed terminal is no reason for another exit code

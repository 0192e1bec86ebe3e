"""The supervisor: the process that ``manage.py runworkers`` is.

One thread, no connection, and no code of the project once the first generation is forked. It obeys signals, watches
files, starts generations and waits for their end.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable

from .. import clock
from ..logging import get_logger
from .channel import Channel
from .handle import GenerationHandle
from .options import Options
from .pidfile import PidFile
from .signals import Signals, describe
from .watch import watch

logger = get_logger(__name__)

_TICK = 0.5
_MARGIN = 1.0
"""Seconds that the children of a dead generation get beyond the shutdown time-out before they are ended."""


class Supervisor:
    """Keeps one generation serving.

    Parameters:
        run_generation: what the first generation runs in its fork; gets the channel to this supervisor.
        say: how to tell a person something.
    """

    def __init__(self, options: Options, run_generation: Callable[[Channel], int], say: Callable[[str], None]) -> None:
        self._options = options
        self._run_generation = run_generation
        self._say = say
        self._generations: list[GenerationHandle] = []
        self._current: GenerationHandle | None = None
        self._starting: GenerationHandle | None = None
        self._watcher = 0
        self._changes = -1
        self._reload_when_ready: str | None = None
        self._stops = 0
        self._exit_code = 0
        self._processed = 0
        self._failed = 0
        self._pid_file: PidFile | None = None

    def run(self) -> int:
        """Serve until the end; returns the exit code. ProcessesFailed when the pid file is taken."""
        if self._options.pid_file is None:
            return self._run()
        with PidFile(self._options.pid_file) as self._pid_file:
            return self._run()

    def _run(self) -> int:
        self._signals = Signals([signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        try:
            if self._options.watch is not None:
                self._start_watcher(self._options.watch)
            self._adopt(GenerationHandle.fork(self._run_generation, self._let_go))
            while self._generations:
                self._selector.select(_TICK)
                self._obey()
                self._listen()
                self._reap()
            self._report_end()
            return self._exit_code
        finally:
            self._end_watcher()
            self._signals.ignore()
            self._signals.close()
            self._selector.close()

    # Generations

    def _adopt(self, generation: GenerationHandle) -> None:
        self._starting = generation
        self._generations.append(generation)
        self._selector.register(generation.channel, selectors.EVENT_READ)

    def _let_go(self) -> None:
        """In a fork: what belongs to the supervisor alone."""
        self._signals.close()
        self._selector.close()
        if self._changes >= 0:
            os.close(self._changes)
        if self._pid_file is not None:
            os.close(self._pid_file.fileno())
        for generation in self._generations:
            generation.channel.close()

    def _listen(self) -> None:
        for generation in self._generations:
            generation.listen()
            if generation.channel.closed:
                self._forget_channel(generation)
        starting = self._starting
        if starting is not None and starting.is_ready:
            self._install(starting)

    def _install(self, generation: GenerationHandle) -> None:
        """The new generation serves; the old one finishes what it has."""
        old, self._current, self._starting = self._current, generation, None
        if self._stops:
            generation.stop()
        elif old is not None:
            took = clock.monotonic() - generation.started
            self._say(f"Reloaded in {took:.1f} s.")
            old.stop()
        else:
            self._say("Ready.")
        why, self._reload_when_ready = self._reload_when_ready, None
        if why is not None:
            self._reload(why)

    def _reload(self, why: str) -> None:
        if self._stops:
            return
        if self._current is None:
            self._reload_when_ready = why
            return
        self._say(f"{why}: reloading.")
        if self._starting is not None:
            # It has read files that have changed since; the newest state of them is wanted.
            self._starting.is_stopping = True
            self._starting.end()
        self._adopt(GenerationHandle.spawn())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._watcher:
                self._replace_watcher(describe(status))
                continue
            for generation in [item for item in self._generations if item.pid == pid]:
                self._note_end(generation, status)

    def _note_end(self, generation: GenerationHandle, status: int) -> None:
        generation.listen()
        self._forget_channel(generation)
        self._generations.remove(generation)
        self._processed += generation.processed
        self._failed += generation.failed
        code = os.waitstatus_to_exitcode(status)
        if generation is self._starting:
            self._starting = None
            self._note_failed_start(generation, code, describe(status))
        elif generation is self._current:
            self._current = None
            self._note_end_of_service(generation, code, describe(status))

    def _note_failed_start(self, generation: GenerationHandle, code: int, how: str) -> None:
        if generation.is_stopping or (self._options.burst and code == 0):
            return
        if self._current is not None:
            self._say(f"The new code does not start ({how}); the workers go on with the old code.")
            return
        self._exit_code = code if code > 0 else 1
        self._outlive(generation)

    def _note_end_of_service(self, generation: GenerationHandle, code: int, how: str) -> None:
        if code == 0 and (generation.is_stopping or self._options.burst):
            return
        self._exit_code = code if code > 0 else 1
        if code < 0 or not generation.is_stopping:
            logger.error("The generation %s; everything stops.", how)
            self._outlive(generation)
        for other in self._generations:
            other.stop()

    def _outlive(self, generation: GenerationHandle) -> None:
        """Its workers notice and end within the shutdown time-out, its keeper after them; who does not is ended."""
        end = clock.monotonic() + self._options.shutdown_timeout / 1000
        while generation.living_children() and clock.monotonic() < end:
            time.sleep(0.05)
        keepers_end = clock.monotonic() + _MARGIN
        while generation.living_children() and clock.monotonic() < keepers_end:
            time.sleep(0.05)
        generation.kill_children()

    def _forget_channel(self, generation: GenerationHandle) -> None:
        if generation.channel.fileno() >= 0:
            self._selector.unregister(generation.channel)
            generation.channel.close()

    # Signals and files

    def _obey(self) -> None:
        for number in self._signals.arrived():
            if number == signal.SIGHUP:
                self._reload("HUP")
            elif number != signal.SIGCHLD:
                self._stop(at_once=number == signal.SIGQUIT)
        if self._changes >= 0 and self._has_changed():
            self._reload("Files changed")

    def _stop(self, *, at_once: bool) -> None:
        self._stops += 1
        if self._stops == 1 and not at_once:
            seconds = self._options.shutdown_timeout / 1000
            self._say(f"Stopping: what runs has {seconds:g} s to finish (once more: at once).")
            for generation in self._generations:
                generation.stop()
        else:
            self._exit_code = 1
            for generation in self._generations:
                generation.kill()

    def _start_watcher(self, directory: str) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                self._signals.close()
                os.close(reader)
                watch(directory, writer, use_polling=self._options.watch_use_polling)
            finally:
                os._exit(0)
        os.close(writer)
        os.set_blocking(reader, False)
        self._watcher, self._changes = pid, reader
        self._selector.register(reader, selectors.EVENT_READ)

    def _replace_watcher(self, how: str) -> None:
        logger.error("The process that watches files %s; a new one starts.", how)
        self._selector.unregister(self._changes)
        os.close(self._changes)
        self._watcher, self._changes = 0, -1
        if self._options.watch is not None and not self._stops:
            time.sleep(_TICK)  # whatever ended it may end the next one too
            self._start_watcher(self._options.watch)

    def _has_changed(self) -> bool:
        try:
            return bool(os.read(self._changes, 4096))
        except BlockingIOError:
            return False

    def _end_watcher(self) -> None:
        if self._watcher:
            os.kill(self._watcher, signal.SIGKILL)
            os.waitpid(self._watcher, 0)

    def _report_end(self) -> None:
        if self._exit_code:
            self._say(f"Stopped with exit code {self._exit_code}.")
        else:
            self._say(f"Stopped. {self._processed} messages run, {self._failed} attempts failed.")


def say(text: str) -> None:
    """Tell whoever started this, on standard output; a closed terminal is no reason to end."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of this process

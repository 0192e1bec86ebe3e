"""``manage.py runworkers`` as a real process: started, looked at, hurt, and always cleared away."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.processes import GENERATION, KEEPER, QUARANTINE, SUPERVISOR, WORKER, Process
from tests.support.stores import ROOT, Store, environment
from tests.support.waiting import until

START = 20
"""Seconds within which a tree must be ready, on a machine that has other things to do."""


class Tree:
    """A supervisor and everything below it, in a session of its own.

    Parameters:
        folder: where its output goes and its ledger is.
        arguments: of the command line.
        settings: of ``DJANGO_TASKS_Q``.
        variables: more of the environment.
        cwd: the folder of ``manage.py``.
        launch: starts the program, and is called as Popen is: on another host, for example.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *arguments: str,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        launch: Callable[..., subprocess.Popen[Any]] = subprocess.Popen,
    ) -> None:
        number = len(list(folder.glob("tree*.out")))
        self._output_path, self._log_path = folder / f"tree{number}.out", folder / f"tree{number}.log"
        given = {
            "DTQ_LEDGER": str(folder / "ledger.jsonl"),
            "DJANGO_TASKS_Q_JSON": json.dumps({**store.settings, **(settings or {})}),
            "PYTHONUNBUFFERED": "1",
            **(variables or {}),
        }
        with self._output_path.open("wb") as output, self._log_path.open("wb") as log:
            self._process = launch(
                [sys.executable, "manage.py", "runworkers", *arguments],
                cwd=cwd,
                env=environment(store.url, **given),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    # Waiting

    def wait_ready(self, seconds: float = START) -> Tree:
        until(lambda: "\nReady." in self.output or self.has_ended, seconds, self.story)
        assert "\nReady." in self.output, self.story()
        return self

    def wait(self, seconds: float = 15) -> int:
        """The exit code of the supervisor."""
        until(lambda: self.has_ended, seconds, lambda: f"still there after {seconds} s: {self.story()}")
        return self._process.wait()

    def wait_gone(self, seconds: float) -> None:
        """Until no process of the tree is left."""
        until(lambda: not self.living(), seconds, lambda: f"left over: {self.living()} {self.story()}")

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    # Looking

    @property
    def output(self) -> str:
        return self._output_path.read_text(errors="replace")

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def story(self) -> str:
        """Everything a person wants to see when a test fails."""
        return f"exit code {self._process.poll()}\n--- output\n{self.output}\n--- log\n{self.log[-8000:]}"

    def living(self) -> list[Process]:
        self._process.poll()  # waited for, it is no zombie
        return processes.in_session(self.pid)

    def roles(self) -> dict[int, str]:
        return processes.roles(self.living(), self.pid)

    def pids(self, role: str) -> list[int]:
        return sorted(pid for pid, known in self.roles().items() if known == role)

    @property
    def workers(self) -> list[int]:
        return self.pids(WORKER)

    @property
    def generation(self) -> int:
        return self.pids(GENERATION)[0]

    @property
    def keeper(self) -> int:
        return self.pids(KEEPER)[0]

    # Hurting

    def kill(self, role: str, chance: random.Random | None = None) -> int | None:
        """``kill -9`` of one process of that role; returns its pid, None when there is none."""
        found = self.pids(role)
        if not found:
            return None
        pid = (chance or random).choice(found)
        self.signal(signal.SIGKILL, pid)
        return pid

    def kill_everything(self) -> None:
        """The whole tree in one moment, as if its host were lost."""
        for process in self.living():
            self.signal(signal.SIGSTOP, process.pid)
        for process in self.living():
            self.signal(signal.SIGKILL, process.pid)
        self.wait_gone(5)

    def signal(self, number: int, pid: int | None = None) -> None:
        """To one process of the tree, or to the supervisor."""
        try:
            os.kill(self.pid if pid is None else pid, number)
        except ProcessLookupError:
            pass  # it ended by itself

    def stop(self, seconds: float = 15) -> int:
        """TERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def clear_away(self) -> list[Process]:
        """End whatever is left; returns what had outlived the supervisor, which nothing may."""
        orphans = self.living() if self.has_ended else []
        end = time.monotonic() + 10
        while self.living() and time.monotonic() < end:
            for process in self.living():
                self.signal(signal.SIGKILL, process.pid)
            time.sleep(0.01)
        self._process.wait()
        return orphans


class Trees:
    """All trees of one test."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.all: list[Tree] = []

    def start(self, *arguments: str, wait: bool = True, **given: Any) -> Tree:
        tree = Tree(self.folder, self.store, *arguments, **given)
        self.all.append(tree)
        return tree.wait_ready() if wait else tree

    def finish(self, *arguments: str, seconds: float = 60) -> Tree:
        """Run everything that is left, retries that are due later included, and end."""
        tree = self.start("-p", "2", *arguments)
        until(lambda: self.store.unfinished() == 0, seconds, lambda: f"{self.store.unfinished()} left {tree.story()}")
        assert tree.stop() == 0, tree.story()
        return tree

    def clear_away(self) -> None:
        orphans = [(tree, process) for tree in self.all for process in tree.clear_away()]
        assert not orphans, "\n".join(
            f"outlived its supervisor: {process}\n{tree.story()}" for tree, process in orphans
        )


__all__ = ["GENERATION", "KEEPER", "QUARANTINE", "SUPERVISOR", "WORKER", "Tree", "Trees"]

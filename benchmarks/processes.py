"""Worker processes: started, waited for, measured and stopped. Only what was started here is ever signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT = 30
PROC = Path("/proc")


class Failed(Exception):
    """The measurement is worth nothing, and why."""


def wait_until(condition: Callable[[], bool], otherwise: str, timeout: float = 120, pause: float = 0.02) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise} after {timeout:.0f} s")
        time.sleep(pause)


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command to its end; what it printed. Failed with its errors when it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Process(NamedTuple):
    """One process of a tree at one moment; memory in MiB, CPU in seconds."""

    pid: int
    role: str
    cpu: float
    rss: float
    pss: float


class Workers:
    """The running commands of one engine, with all their children."""

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self.launched = time.monotonic_ns()
        self._log = log
        with log.open("w") as output:
            self._running = [
                subprocess.Popen(command, cwd=ROOT, env={**environment}, stdout=output, stderr=subprocess.STDOUT)
                for command in commands
            ]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Gracefully; whoever does not end in time is killed."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check_alive(self) -> None:
        for process in self._running:
            if process.poll() is not None:
                raise Failed(f"A worker left with code {process.returncode}:\n{self._log.read_text()}")

    def tree(self) -> list[Process]:
        """Every process, its CPU time and its memory."""
        found = []
        for process in self._running:
            for pid, depth in _descendants(process.pid):
                found.append(_look(pid, _role(pid, depth)))
        return found


def _descendants(pid: int, depth: int = 0) -> list[tuple[int, int]]:
    children = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [(pid, depth), *(entry for child in children for entry in _descendants(int(child), depth + 1))]


def _role(pid: int, depth: int) -> str:
    """Which part of the tree it is. Of the innermost, the keeper is the one without a thread for each message."""
    if "runworkers" not in _command(pid):
        return "worker"
    if depth < 2:
        return ("supervisor", "generation")[depth]
    return "worker" if len(os.listdir(PROC / str(pid) / "task")) > 4 else "keeper"


def _command(pid: int) -> str:
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _look(pid: int, role: str) -> Process:
    rollup = dict(
        line.split(":", 1) for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines() if ":" in line[:20]
    )
    rss, pss = (int(rollup[key].split()[0]) / 1024 for key in ("Rss", "Pss"))
    return Process(pid, role, _cpu(pid), rss, pss)


def _cpu(pid: int) -> float:
    """Seconds on a core, of all threads, with the resolution of nanoseconds."""
    tasks = (PROC / str(pid) / "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

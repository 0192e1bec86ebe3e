"""Processes as /proc tells of them: who belongs to a session, and what each is for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SUPERVISOR, GENERATION, KEEPER, WORKER, QUARANTINE, HELPER = (
    "supervisor",
    "generation",
    "keeper",
    "worker",
    "quarantine",
    "helper",
)

_QUARANTINE_THREADS = 4
"""The main thread, the I/O thread, the ticker and the one thread that runs suspects."""


class Process(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int
    threads: int
    ticks: int
    """CPU time so far, in clock ticks."""


def in_session(session: int) -> list[Process]:
    """The living processes of a session; one that has ended and was not waited for yet is not alive."""
    return [process for process in _all() if process.session == session and process.state not in "ZX"]


def roles(processes: Iterable[Process], supervisor: int) -> dict[int, str]:
    """What each process is for, by where it stands in the tree, which signals it ignores, and how many threads it has.

    A generation has children; its keeper heeds no TERM, and a worker that has booted has several threads. Who is about
    to become one of these is a helper.
    """
    known = list(processes)
    parents = {process.parent for process in known}
    generations = {p.pid for p in known if p.parent == supervisor and p.pid in parents}
    return {process.pid: _role(process, supervisor, generations) for process in known}


def cpu_seconds(pid: int) -> float:
    """CPU time of one process so far; 0 when it is gone."""
    process = _read(pid)
    return 0.0 if process is None else process.ticks / os.sysconf("SC_CLK_TCK")


def is_alive(pid: int) -> bool:
    process = _read(pid)
    return process is not None and process.state not in "ZX"


def is_stopped(pid: int) -> bool:
    process = _read(pid)
    return process is not None and process.state == "T"


def _role(process: Process, supervisor: int, generations: set[int]) -> str:
    if process.pid == supervisor:
        return SUPERVISOR
    if process.pid in generations:
        return GENERATION
    if process.parent not in generations:
        return HELPER
    if _ignores_term(process.pid):
        return KEEPER
    if process.threads < _QUARANTINE_THREADS:
        return WORKER if _has_greenlets(process.pid) else HELPER
    return QUARANTINE if process.threads == _QUARANTINE_THREADS else WORKER


def _ignores_term(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), "0")
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def _has_greenlets(pid: int) -> bool:
    """Whether it is one of ``--use-gevent``, which has one thread whatever it runs."""
    try:
        return b"gevent_program.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _all() -> list[Process]:
    found = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[17]), ticks)

"""The board: what every worker process is running, readable from outside when it cannot answer any more.

One anonymous shared mapping, made before the fork. A worker writes its own region; the generation and the keeper read
it, also after the worker's death. Each slot is written before its busy byte is set, so whoever finds the byte set finds
the rest true.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

_REGION_HEADER = 256
_SLOT = 512
_PID = struct.Struct("<Q")
_IDENTITY = struct.Struct("<QB97p")  # pid, presence, worker id
_NUMBERS = struct.Struct("<QQQdB")  # processed, failed, rss bytes, condemned at, wants retirement
_READY_AT, _NUMBERS_AT, _LEASE_AT, _CONTROL_AT, _OBEYED_AT = 120, 128, 168, 176, 184
_TASK = struct.Struct("<IHHQdd")  # delivery number, id length, queue length, started wall ms, started mono, deadline
_MOMENT = struct.Struct("<d")
_VERSION = struct.Struct("<Q")  # one more than it is; 0: not known
_TASK_AT, _DEADLINE_AT, _TEXT_AT, _QUEUE_AT = 8, 8 + _TASK.size - 8, 48, 48 + 256
NO_DEADLINE = 0.0

EMPTY, ALIVE, STOPPED = 0, 1, 2


class Task(NamedTuple):
    """What one slot is running. ``deadline`` is monotonic seconds, 0 for none; ``started_at`` epoch milliseconds.

    ``is_revoked``: the deadline is that of a message that was called off.
    """

    message_id: str
    queue_name: str
    number: int
    started_at: int
    started: float
    deadline: float
    is_revoked: bool = False


class Region:
    """One worker process's part of the board."""

    def __init__(self, memory: mmap.mmap | memoryview, offset: int, slots: int) -> None:
        self._memory = memory
        self._offset = offset
        self.slots = slots

    # Written by the generation

    def assign(self, worker_id: str, pid: int, presence: int = ALIVE) -> None:
        """Give the region to a new worker; everything that the last one left is wiped."""
        size = _REGION_HEADER + self.slots * _SLOT
        self._memory[self._offset : self._offset + size] = bytes(size)
        _IDENTITY.pack_into(self._memory, self._offset, pid, presence, worker_id.encode())

    def set_pid(self, pid: int) -> None:
        _PID.pack_into(self._memory, self._offset, pid)

    def mark(self, presence: int) -> None:
        self._memory[self._offset + 8] = presence

    def mark_ready(self) -> None:
        """The worker is connected and fetching."""
        self._memory[self._offset + _READY_AT] = 1

    @property
    def is_ready(self) -> bool:
        return bool(self._memory[self._offset + _READY_AT])

    def condemn(self, at: float) -> None:
        """Tell the worker that it will be ended: it stops fetching."""
        processed, failed, rss, _, retire = self._numbers()
        self._set_numbers(processed, failed, rss, at, retire)

    # Written by who renews the lease

    def set_lease(self, until: float) -> None:
        """The worker certainly has its lease until then, and a little longer; monotonic seconds."""
        _MOMENT.pack_into(self._memory, self._offset + _LEASE_AT, until)

    def is_lease_over(self, now: float) -> bool:
        """Whether others may have been given what this worker holds; never where nobody has told of a lease."""
        (until,) = _MOMENT.unpack_from(self._memory, self._offset + _LEASE_AT)
        return bool(NO_DEADLINE < until <= now)

    # Written by who looks after revocations and pauses

    def tell_control(self, version: int) -> None:
        """The control store has that version now."""
        _VERSION.pack_into(self._memory, self._offset + _CONTROL_AT, version + 1)

    @property
    def told_control(self) -> int | None:
        """What :meth:`tell_control` has said; None when nobody has said anything."""
        return self._version(_CONTROL_AT)

    @property
    def obeyed_control(self) -> int | None:
        """The version that the worker obeys; None before it has read any."""
        return self._version(_OBEYED_AT)

    def _version(self, at: int) -> int | None:
        (version,) = _VERSION.unpack_from(self._memory, self._offset + at)
        return int(version) - 1 if version else None

    # Written by the worker

    def obey_control(self, version: int) -> None:
        """The worker has read that version of revocations and pauses, and obeys it."""
        _VERSION.pack_into(self._memory, self._offset + _OBEYED_AT, version + 1)

    def report(self, processed: int, failed: int, rss: int, wants_retirement: bool = False) -> None:
        self._set_numbers(processed, failed, rss, self.condemned_at, wants_retirement)

    def begin(self, slot: int, message_id: bytes, queue_name: bytes, number: int, wall_ms: int, mono: float) -> None:
        at = self._slot(slot)
        memory = self._memory
        _TASK.pack_into(memory, at + _TASK_AT, number, len(message_id), len(queue_name), wall_ms, mono, NO_DEADLINE)
        memory[at + _TEXT_AT : at + _TEXT_AT + len(message_id)] = message_id
        memory[at + _QUEUE_AT : at + _QUEUE_AT + len(queue_name)] = queue_name
        memory[at] = 1

    def set_deadline(self, slot: int, deadline: float, *, is_revoked: bool = False) -> None:
        """When the process is forfeit because of what the slot runs. On the board that of a revoked one is negative."""
        _MOMENT.pack_into(self._memory, self._slot(slot) + _DEADLINE_AT, -deadline if is_revoked else deadline)

    def end(self, slot: int) -> None:
        self._memory[self._slot(slot)] = 0

    # Read by anybody

    @property
    def worker_id(self) -> str:
        return str(_IDENTITY.unpack_from(self._memory, self._offset)[2].decode())

    @property
    def pid(self) -> int:
        return int(_IDENTITY.unpack_from(self._memory, self._offset)[0])

    @property
    def presence(self) -> int:
        return int(self._memory[self._offset + 8])

    @property
    def condemned_at(self) -> float:
        return float(self._numbers()[3])

    @property
    def processed(self) -> int:
        return int(self._numbers()[0])

    @property
    def failed(self) -> int:
        return int(self._numbers()[1])

    @property
    def rss(self) -> int:
        return int(self._numbers()[2])

    @property
    def wants_retirement(self) -> bool:
        return bool(self._numbers()[4])

    def running(self) -> list[Task]:
        """What the worker is running now, or was running when it died."""
        first = self._slot(0)
        busy = bytes(self._memory[first : first + self.slots * _SLOT : _SLOT])  # one look, however many slots there are
        if not any(busy):
            return []
        return [task for slot in range(self.slots) if busy[slot] and (task := self._task(slot)) is not None]

    def _task(self, slot: int) -> Task | None:
        at = self._slot(slot)
        if not self._memory[at]:
            return None
        number, id_length, queue_length, wall, mono, deadline = _TASK.unpack_from(self._memory, at + _TASK_AT)
        message_id = bytes(self._memory[at + _TEXT_AT : at + _TEXT_AT + id_length]).decode()
        queue_name = bytes(self._memory[at + _QUEUE_AT : at + _QUEUE_AT + queue_length]).decode()
        return Task(message_id, queue_name, number, wall, mono, abs(deadline), deadline < 0)

    def _slot(self, slot: int) -> int:
        return self._offset + _REGION_HEADER + slot * _SLOT

    def _numbers(self) -> tuple[int, int, int, float, int]:
        return _NUMBERS.unpack_from(self._memory, self._offset + _NUMBERS_AT)

    def _set_numbers(self, processed: int, failed: int, rss: int, condemned_at: float, retire: int) -> None:
        _NUMBERS.pack_into(self._memory, self._offset + _NUMBERS_AT, processed, failed, rss, condemned_at, retire)


class Board:
    """Regions for ``workers`` processes of ``slots`` slots each, in memory that a fork shares.

    ``descriptor`` is an open file to map instead, for processes that are spawned.
    """

    def __init__(self, workers: int, slots: int, descriptor: int = -1) -> None:
        self._memory = mmap.mmap(descriptor, self.size(workers, slots))
        step = _REGION_HEADER + slots * _SLOT
        self.regions = [Region(self._memory, index * step, slots) for index in range(workers)]

    @staticmethod
    def size(workers: int, slots: int) -> int:
        """Bytes that such a board takes."""
        return workers * (_REGION_HEADER + slots * _SLOT)

    def __iter__(self) -> Iterator[Region]:
        return iter(self.regions)

    def find(self, worker_id: str) -> Region | None:
        return next((region for region in self.regions if region.worker_id == worker_id), None)

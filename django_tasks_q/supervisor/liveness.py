"""Whether processes that are nobody's children here still run."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether a process that is not our child still runs; a zombie that nobody reaps does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except ProcessLookupError:
        return False
    except OSError:
        return os.path.exists(f"/proc/{pid}") or not os.path.exists("/proc/self")

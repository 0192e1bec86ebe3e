"""The network connections of a process, as /proc tells of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_ESTABLISHED = "01"


def local_ports(pid: int, remote_port: int) -> set[int]:
    """The ports from which a process is connected to that port of any host, over IPv4."""
    own = _sockets(pid)
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
        if state == _ESTABLISHED and inode in own and _port(remote) == remote_port:
            found.add(_port(local))
    return found


def _sockets(pid: int) -> set[str]:
    """Inodes."""
    found = set()
    folder = Path(f"/proc/{pid}/fd")
    for descriptor in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            kind, _, inode = os.readlink(descriptor).partition(":")
            if kind == "socket":
                found.add(inode.strip("[]"))
    return found


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)

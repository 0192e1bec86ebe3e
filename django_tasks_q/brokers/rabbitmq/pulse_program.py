"""Sends heartbeats on a socket that it shares with its parent, until that ends. Run without the package, by its path.

Arguments: the parent's process id, the descriptor of the socket, that of the shared page, seconds between two beats,
and what to send.
Standard input ends with the parent.
"""

import fcntl
import mmap
import os
import select
import signal
import sys
import termios


def main(parent: int, descriptor: int, page_descriptor: int, interval: float, frame: bytes) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    page = mmap.mmap(page_descriptor, mmap.PAGESIZE)
    while not select.select([0], [], [], interval)[0] and os.getppid() == parent:
        if page[0] or is_underway(descriptor) or is_stopped(parent):
            continue
        try:
            os.write(descriptor, frame)
        except BlockingIOError:
            continue
        except OSError:
            return


def is_underway(descriptor: int) -> bool:
    """Whether something was sent that has not arrived: it is a sign of life itself."""
    return sys.platform == "linux" and any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))


def is_stopped(pid: int) -> bool:
    """Whether a process stands still: then others shall have what it holds."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), bytes.fromhex(sys.argv[5]))

"""Many processes of one program that do the same at once."""

from __future__ import annotations

import os
from collections.abc import Callable


def forked(number: int, work: Callable[[int], None]) -> int:
    """Have so many children do ``work``, each with its own number from 0 on; how many of them failed."""
    children = []
    for own in range(number):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(own)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)

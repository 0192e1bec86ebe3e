"""Find or start everything, and say what was found where; end with 1 at the first thing that cannot be had."""

from __future__ import annotations

import sys

from .mariadb import MARIADB
from .postgresql import POSTGRESQL
from .programs import PROGRAMS, Program
from .rabbitmq import RABBITMQ
from .redis import REDIS
from .service import Service, Unavailable

# Programs first: the packages that bring them bring the servers.
NEEDED: list[Program | Service] = [*PROGRAMS, POSTGRESQL, REDIS, RABBITMQ, MARIADB]


def main() -> int:
    for each in NEEDED:
        try:
            print(f"{each.name}: {each.ensure()}")
        except Unavailable as reason:
            print(f"{each.name}: {reason}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

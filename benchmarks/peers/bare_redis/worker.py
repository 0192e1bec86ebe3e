"""Pops and reads, and nothing else."""

import json

from benchmarks.peers.bare_redis.tasks import NAME, client
from benchmarks.slots import Slots

BATCH = 100


def main() -> None:
    slots = Slots.from_environment()
    while True:
        for payload in client.lpop(NAME, BATCH) or [client.blpop([NAME], 0)[1]]:
            slots.mark(json.loads(payload)["index"])


if __name__ == "__main__":
    main()

"""Consumes, reads, and acknowledges many at a time, and nothing else."""

import json
from typing import Any

from benchmarks.peers.bare_rabbitmq.tasks import NAME, channel
from benchmarks.slots import Slots

BATCH = 100


def main() -> None:
    slots = Slots.from_environment()
    channel.basic_qos(prefetch_count=BATCH + 16)
    open_tags = 0

    def run(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal open_tags
        slots.mark(json.loads(body)["index"])
        open_tags += 1
        if open_tags >= BATCH:
            channel.basic_ack(method.delivery_tag, multiple=True)
            open_tags = 0

    channel.basic_consume(NAME, run)
    channel.start_consuming()


if __name__ == "__main__":
    main()

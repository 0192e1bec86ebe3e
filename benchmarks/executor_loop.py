"""One thread that runs messages of a no-op actor and nothing else: what the engine itself costs for each of them.

``python -m benchmarks.executor_loop 10000`` prints microseconds for each. Instructions do not depend on how busy the
machine is: ``valgrind --tool=callgrind --callgrind-out-file=/dev/null python -m benchmarks.executor_loop N`` for two N,
and the difference divided by the difference of N.
"""

from __future__ import annotations

import os
import sys
import time

import django


def main(number: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django_tasks_q import actor, set_broker
    from django_tasks_q.brokers.stub import StubBroker
    from django_tasks_q.configured.named import make_middleware
    from django_tasks_q.deliveries import Delivery
    from django_tasks_q.worker.board import Board
    from django_tasks_q.worker.executor import Executor
    from django_tasks_q.worker.slot import Slot

    broker = StubBroker(make_middleware())
    set_broker(broker)

    @actor(broker=broker)
    def noop() -> None: ...

    payloads = [noop.message().encode() for _ in range(200)]
    region = Board(1, 1).regions[0]
    region.assign("worker", os.getpid())
    slot, executor = Slot(region, 0), Executor(broker, worker_id="worker")
    emits = bool(broker.hooks("after_ack"))
    began = time.perf_counter()
    for turn in range(number):
        delivery = Delivery(turn, "m", "default", payloads[turn % 200], 1)
        slot.begin(delivery)
        finished = executor.begin(delivery, slot, None)
        slot.end()
        if emits and finished is not None:
            broker.emit_after("ack", finished.proxy)
    took = time.perf_counter() - began
    print(f"{took / number * 1e6:.2f} us for each of {number} messages")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

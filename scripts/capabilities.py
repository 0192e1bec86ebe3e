"""Prints the table of docs/brokers.md: what each broker promises, as its capability values say it.

A test keeps the page equal to it; `python scripts/capabilities.py --write` puts it there.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "brokers.md"
BEGIN, END = "<!-- capabilities -->", "<!-- end of capabilities -->"

PROMISES: Mapping[str, str] = {
    "priorities": "messages of a smaller priority run sooner",
    "front_requeue": "what a worker gives back stands at the front of its queue again",
    "delays": "delayed messages, retries and dead letters are kept by the broker",
    "fenced_settle": "a worker that was declared dead can settle nothing",
    "atomic_settle": "the outcome of a message and what it causes are one step",
    "unique_ids": "an id is there once while its message waits, runs or is dead",
    "unique_keys": "of messages that take the same key one is there until it has ended",
    "suspects": "a message that was lost with its worker too often runs alone",
    "peek": "messages can be looked at and picked out without being taken",
    "counts": "what each queue holds is known in numbers",
    "prompt_claims": "a worker gets what it asks for at the moment it asks",
    "delivery_numbers": "every delivery has a number, which only rises",
    "transactional_send": "a `send()` inside `atomic()` is part of the transaction",
    "journal": "what happens is kept with the change until it is in the records",
    "survives_restart": "messages outlive the process that sent them",
}
"""What the model does, by the names of `Capabilities`."""


def brokers() -> Mapping[str, object]:
    """The capabilities of each broker, by the head of its column. No connection is made."""
    from django_tasks_q.brokers.database import DatabaseBroker
    from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
    from django_tasks_q.brokers.redis import RedisBroker

    return {
        "database": DatabaseBroker.capabilities,
        "Redis": RedisBroker(url="redis://localhost").capabilities,
        "Redis Cluster": RedisBroker(url="redis+cluster://localhost").capabilities,
        "RabbitMQ": RabbitmqBroker(url="amqp://localhost").capabilities,
        "RabbitMQ, quorum queues": RabbitmqBroker(url="amqp://localhost", queue_type="quorum").capabilities,
    }


def table() -> str:
    """Promises that every broker keeps in full are one sentence below the table."""
    columns = brokers()
    names = [name for name in PROMISES if any(hasattr(can, name) for can in columns.values())]
    rows = {name: [_cell(can, name) for can in columns.values()] for name in names}
    told = [name for name in names if set(rows[name]) != {"yes"}]
    lines = [f"| promise | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    lines += [f"| {PROMISES[name]} | {' | '.join(rows[name])} |" for name in told]
    same = [PROMISES[name] for name in names if name not in told]
    return "\n".join([*lines, "", f"All of them promise: {'; '.join(same)}."])


def _cell(capabilities: object, name: str) -> str:
    can = getattr(capabilities, name)
    return {"same": "yes", "weaker": f"weaker: {can.how}", "none": f"no: {can.how}"}[can.level]


def unexplained() -> Iterator[str]:
    """Capabilities that have no words here."""
    from django_tasks_q.capabilities import Capabilities

    yield from {field.name for field in msgspec.structs.fields(Capabilities)} - set(PROMISES)


def on_page() -> str:
    """The table as the page has it."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def write() -> None:
    """Put the table onto the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    if "--write" in sys.argv:
        write()
    else:
        print(table())


if __name__ == "__main__":
    main()

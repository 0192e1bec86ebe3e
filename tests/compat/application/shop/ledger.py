"""The append-only ledger: one line of JSON per effect, written by any number of processes."""

import contextlib
import json
import os
from collections import Counter

from shop import config


def record(actor, key, outcome):
    """Append one effect. A single small O_APPEND write never mixes with another's."""
    line = json.dumps([actor, key, outcome]) + "\n"
    descriptor = os.open(config.LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def freeze(value):
    """The hashable form of an entry: lists become tuples, all the way down."""
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


def read():
    """What happened so far, as a multiset of (actor, key, outcome)."""
    try:
        with open(config.LEDGER) as file:
            return Counter(freeze(json.loads(line)) for line in file if line.endswith("\n"))
    except FileNotFoundError:
        return Counter()


def happened(actor, key, outcome):
    """Whether this is in the ledger."""
    return freeze((actor, key, outcome)) in read()


@contextlib.contextmanager
def room(name):
    """A room for one: yields "alone", or "crowded" when somebody is in it already."""
    path = f"{config.LEDGER}.{name}"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        yield "crowded"
        return
    try:
        yield "alone"
    finally:
        os.unlink(path)

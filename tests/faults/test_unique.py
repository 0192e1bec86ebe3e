"""Messages of which one is enough, with many senders at once and with those who die: one run of each key, and no key is
taken for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from django_tasks_q import Message
from django_tasks_q.keeper import unique_keys
from django_tasks_q.keeper.unique_keys import UniqueKeys
from django_tasks_q.sql import Database
from testproject import misbehave
from tests.support import everywhere
from tests.support.everywhere import EVERYWHERE, ON_EACH_BROKER, program
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import until

KEYS = int(os.environ.get("DTQ_UNIQUE_KEYS", "300"))
"""How many each sender sends; 10,000 take some minutes on each broker."""

SENDERS = 16

pytestmark = [pytest.mark.lifecycle, pytest.mark.timeout(120 + KEYS // 10)]

world = everywhere.world
trees = everywhere.trees


def unique_message(actor: Any, key: int, *args: Any) -> Message[Any]:
    """With a key in words: this process's brokers know no actors, and how an actor's arguments are called."""
    message: Message[Any] = actor.message_with_options(args=args or (key,), unique=True, unique_key=f"key {key}")
    return message


def holder(world: Store, message: Message[Any]) -> str | None:
    return world.broker.unique_holder(message)


@EVERYWHERE
def test_of_a_key_that_many_senders_send_at_once_there_is_one_run(
    world: Store, trees: Trees, ledger: Ledger, kind: str
) -> None:
    # Given sixteen processes that each send every key, while no worker runs
    with program(world, "unique_senders", str(KEYS), str(SENDERS)) as senders:
        assert senders.wait(100 + KEYS // 10) == 0

    # Then each key is held by one message
    keys = [unique_message(misbehave.echo, key) for key in range(KEYS)]
    holders = {key.args[0]: holder(world, key) for key in keys}
    assert len(set(holders.values())) == KEYS and None not in holders.values()

    # And when a tree has worked everything off, each has run once and its key is free
    tree = trees.start("-p", "2")  # whose end is seen by the ledger: records of what others have sent come later
    until(lambda: ledger.completed() >= set(holders.values()), 60 + KEYS // 50, tree.story)
    drain(world, 30, tree.story)
    assert tree.stop() == 0
    runs = ledger.runs()
    assert set(runs) == set(holders.values())
    assert {len(each) for each in runs.values()} == {1}
    until(lambda: world.rows(f"SELECT DISTINCT state FROM {RECORDS}") == [("succeeded",)], 20)
    assert world.rows(f"SELECT COUNT(*) FROM {RECORDS}") == [(KEYS,)]
    until(lambda: all(holder(world, key) is None for key in keys[:100]), 10)


@ON_EACH_BROKER
def test_the_key_of_what_a_killed_worker_was_running_is_free_when_the_message_has_ended(
    world: Store, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given a worker that is killed while it runs the holder of a key
    gate = tmp_path / "gate"
    message = unique_message(misbehave.wait_for_file, 0, str(gate))
    [sent] = world.send([message])
    trees.start("-p", "1", "-t", "1")
    until(lambda: ledger.runs().get(sent), 20)
    os.kill(ledger.runs()[sent][0].pid, signal.SIGKILL)

    # When somebody else runs it again
    until(lambda: len(ledger.runs()[sent]) == 2, 30)
    assert holder(world, message) == sent
    gate.touch()

    # Then its key is free as soon as it has ended
    until(lambda: holder(world, message) is None, 20)
    assert [run.completed for run in ledger.runs()[sent]] == [False, True]


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_the_key_of_a_sender_who_was_killed_before_he_published_is_free_after_a_while(
    world: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sender who has taken his key, and nothing else
    with program(world, "unique_senders", "die") as sender:
        assert sender.wait(60) == -signal.SIGKILL
    message = unique_message(misbehave.echo, 0)
    held_by = holder(world, message)
    assert held_by is not None
    assert world.send([message]) == [held_by]

    # When the keeper looks before he may be taken for dead, and after it
    monkeypatch.setattr(unique_keys, "_YOUNG", 0)
    broker = world.broker
    service = UniqueKeys(broker, Database(world.alias), "me")
    service.work()
    assert holder(world, message) == held_by
    monkeypatch.setattr(unique_keys, "MARGIN", -broker.send_timeout)
    service.work()

    # Then the key is free
    assert holder(world, message) is None
    [sent] = world.send([unique_message(misbehave.echo, 0)])
    assert sent != held_by
    service.close()

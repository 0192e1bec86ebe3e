"""Everything that a person in front of a browser has to do with: web server, workers, database, and who may log in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Permission, User

from django_tasks_q import Message
from django_tasks_q.brokers.database import DatabaseBroker
from tests.admin.pages import url
from tests.browser.web import SETTINGS, web_server
from tests.support.dead_letters import bury
from tests.support.runworkers import Trees
from tests.support.stores import RECORDS, Store
from tests.support.templates import SQLITE
from tests.support.waiting import until

PASSWORD = "correct horse"
ADMIN = "admin"
READER = "reader"
ARCHIVE = "archive"
THREADS = 4
"""Of all workers."""


@dataclass(frozen=True)
class Place:
    """``address``: of the web server, without a slash at its end. ``folder``: where the ledger is."""

    address: str
    store: Store
    folder: Path

    def page(self, name: str, *args: Any) -> str:
        """The address of a page of ours in the admin: ``page("deadletter_changelist")``."""
        return self.address + url(name, *args)

    def bury(self, messages: Iterable[Message[Any]]) -> list[str]:
        """Dead letters in a queue that no worker serves; the ids."""
        broker = DatabaseBroker(using=self.store.alias)
        broker.declare_queue(ARCHIVE)
        ids = bury(broker, [message.copy(queue_name=ARCHIVE) for message in messages])
        broker.close()
        return ids

    def states(self, actor_name: str) -> Counter[str]:
        """How many messages of an actor are in each state."""
        found = self.store.rows(f"SELECT state FROM {RECORDS} WHERE actor_name = ?", [actor_name])
        return Counter(state for (state,) in found)

    def until_state(self, message_id: str, state: str, seconds: float = 20) -> None:
        until(lambda: self.store.states().get(message_id) == state, seconds, lambda: str(self.store.record(message_id)))


@contextmanager
def open_place(folder: Path) -> Iterator[Place]:
    """The test project as it runs, with one worker process. May be used where databases are."""
    store = SQLITE.make()
    trees = Trees(folder, store)
    try:
        make_people(store)
        with web_server(folder, store) as address:
            trees.start("-p", "1", "-t", str(THREADS), variables={"DJANGO_SETTINGS_MODULE": SETTINGS})
            yield Place(address, store, folder)
    finally:
        trees.clear_away()
        store.close()
        SQLITE.drop(store)


def make_people(store: Store) -> None:
    """Somebody who may do everything, and somebody who may only look."""
    people = User.objects.db_manager(store.alias)
    people.create_superuser(ADMIN, password=PASSWORD)
    reader = people.create_user(READER, password=PASSWORD, is_staff=True)
    permissions = Permission.objects.using(store.alias)
    reader.user_permissions.set(permissions.filter(codename="view_messagerecord"))

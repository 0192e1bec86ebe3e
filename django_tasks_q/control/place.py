"""Where what operators say is kept."""

from __future__ import annotations

from ..broker import Broker
from ..rules import ControlStore, control_store


def store_of(broker: Broker) -> ControlStore:
    """The control store of a broker. RuntimeError where there is none."""
    store = control_store(broker)
    if store is None:
        raise RuntimeError(
            "Revocations and pauses are kept in a database of Django's: put 'django_tasks_q' in INSTALLED_APPS."
        )
    return store

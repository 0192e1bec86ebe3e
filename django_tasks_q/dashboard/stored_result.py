"""What the store of results has of a message."""

from __future__ import annotations

import json
from typing import Any

from django.utils.translation import gettext as _

from ..broker import Broker, get_broker
from ..errors import BrokerError, DecodeError
from ..message import Message
from ..models import MessageRecord
from ..results import Missing
from ..states import State
from . import presentation, reach

_ENDED = (State.SUCCEEDED, State.SKIPPED, State.DEAD)
_LONGEST = 200


def stored_result(record: MessageRecord) -> str:
    """The beginning of a result, where the project hides nothing; empty where none is stored.

    The store is asked only for messages whose results were wanted. A failure is not repeated: the record has it.
    """
    broker = get_broker()
    if record.state not in _ENDED or not _is_wanted(broker, record):
        return ""
    message: Message[Any] = Message("", record.actor_name, message_id=record.message_id)
    try:
        backend = broker.get_results_backend()
        [found] = reach.ask_store(backend, lambda: backend.peek([message]))
    except (BrokerError, RuntimeError) as error:
        return _("unknown: %(error)s") % {"error": presentation.short(str(error))}
    except DecodeError:
        return _("stored")
    if found is Missing:
        return _("not stored, or expired")
    return _shown(broker, found)


def _is_wanted(broker: Broker, record: MessageRecord) -> bool:
    options = record.options if isinstance(record.options, dict) else {}
    actor = broker.actors.get(record.actor_name)
    default = False if actor is None else actor.options.get("store_results", False)
    return bool(options.get("store_results", default))


def _shown(broker: Broker, found: object) -> str:
    if isinstance(found, Exception):
        return _("stored, as a failure")
    if broker.recording.hides:
        return _("stored")
    try:
        return presentation.short(json.dumps(found, ensure_ascii=False), _LONGEST)
    except (TypeError, ValueError):  # an encoder of its own may make anything of it
        return _("stored")

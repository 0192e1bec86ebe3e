"""What was gathered for a message that is not done with it."""

from __future__ import annotations

import json

from django.utils.translation import gettext as _

from ..broker import get_broker
from ..errors import BrokerError, DecodeError
from ..gather import GATHERS
from ..gathering import store, taken
from ..models import MessageRecord
from . import presentation

_LONGEST = 200
_FIRST = 70
"""Items that are read to be shown, which is more than fit: all of them may be more than there is memory for."""


def gathered_items(record: MessageRecord) -> str:
    """How many items it has, and the first of them as the project lets people see arguments; empty for who has none."""
    if not isinstance(record.options, dict) or GATHERS not in record.options:
        return ""
    broker = get_broker()
    try:
        number = store(broker).count(broker, record.pk)
        items = taken(broker, record.pk, _FIRST)
    except (BrokerError, DecodeError) as error:
        return _("unknown: %(error)s") % {"error": presentation.short(str(error))}
    if not items:
        return ""
    args, _kwargs = broker.recording.shown_arguments(record.actor_name, [items], {})
    return f"{number}: {_listed(args[0])}" if args else str(number)


def _listed(items: object) -> str:
    try:
        return presentation.short(json.dumps(items, ensure_ascii=False), _LONGEST)
    except (TypeError, ValueError):  # an encoder of its own may make anything of it
        return "…"

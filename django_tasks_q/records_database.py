"""Which database the records are in."""

from __future__ import annotations

from . import conf
from .broker import Broker


def alias(broker: Broker) -> str:
    """``RECORDS["DATABASE"]``, else the database broker's own alias, else ``default``."""
    return str(conf.records()["DATABASE"] or getattr(broker, "using", "default"))

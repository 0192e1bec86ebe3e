"""For ``check --deploy --database``: is the broker's server there, and does it keep what it is given?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage

from ..errors import BrokerError
from .findings import broker_alias, error, usable_broker, warning

_HINT = "See docs/brokers.md for how to set a server up."


def check_server(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E017: the broker's server does not answer. W012: it may lose or stop messages the way it is set up.

    A database that is the broker has checks of its own.
    """
    broker = usable_broker()
    if broker is None or not databases or broker_alias(broker) is not None:
        return []
    try:
        broker.check_ready()
        risks = broker.risks()
    except BrokerError as trouble:
        return [error("E017", f"The broker, {broker.address}, does not answer: {trouble}")]
    return [warning("W012", f"The broker, {broker.address}: {risk}", _HINT) for risk in risks]

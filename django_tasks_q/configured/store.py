"""The broker that the settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import conf
from ..broker import Broker
from ..conf import WrongSetting
from ..message import set_encoder
from ..middleware import Middleware
from ..options import check_actor_options
from .addresses import (
    BACKENDS,
    BROKERS,
    NAMESPACED,
    check_backend_url,
    check_broker_url,
    check_records_database,
)
from .named import make_encoder, make_middleware, make_recording


def make_broker() -> Broker:
    """The broker of ``BROKER_URL`` with the middleware of the settings; no connection is made.

    WrongSetting for the first setting that cannot be used.
    """
    encoder = make_encoder()
    broker = open_store(make_middleware())
    give_settings(broker)
    set_encoder(encoder)
    return broker


def open_store(middleware: list[Middleware]) -> Broker:
    """The broker that ``BROKER_URL`` and ``BROKER_OPTIONS`` name."""
    scheme = check_broker_url()
    options = given = conf.get("BROKER_OPTIONS")
    if scheme in NAMESPACED:
        options = {"namespace": conf.get("NAMESPACE"), **options}
    try:
        broker: Broker = conf.load(BROKERS[scheme], "BROKER_URL")(conf.get("BROKER_URL"), middleware, **options)
    except TypeError as error:
        raise WrongSetting(
            f"{conf.NAME}: BROKER_OPTIONS do not fit a broker of {scheme}://: {error}", "E011", _names(given)
        ) from error
    except ValueError as error:
        raise WrongSetting(
            f"{conf.NAME}: BROKER_URL or BROKER_OPTIONS do not fit a broker of {scheme}://: {error}",
            "E011",
            _names(given),
        ) from error
    return broker


def _names(options: Mapping[str, Any]) -> str:
    """What there is; a value may be a password."""
    return f"BROKER_OPTIONS has {', '.join(map(repr, options)) or 'nothing'}."


def give_settings(broker: Broker) -> None:
    """Put the settings that a broker reads onto it; all of them or, when one cannot be used, none."""
    check_records_database()
    for key in BACKENDS:
        check_backend_url(key)
    defaults = conf.get("ACTOR_DEFAULTS")
    recording = make_recording()
    if "schedule" in defaults:
        raise WrongSetting(f"{conf.NAME}: ACTOR_DEFAULTS: a schedule is one actor's.", "E012", "See SCHEDULES.")
    try:
        check_actor_options(broker, defaults, f"{conf.NAME}: ACTOR_DEFAULTS: an actor")
    except (ValueError, TypeError) as error:
        raise WrongSetting(str(error), "E012", "An option belongs to the middleware that reads it.") from error
    broker.lease = conf.get("LEASE")
    broker.delivery_limit = conf.get("DELIVERY_LIMIT")
    broker.max_message_bytes = conf.get("MAX_MESSAGE_BYTES")
    broker.send_timeout = conf.get("SEND_TIMEOUT")
    broker.journal_max_bytes = conf.get("JOURNAL_MAX_BYTES")
    broker.actor_defaults = defaults
    Broker.message_options = frozenset(conf.get("MESSAGE_OPTIONS"))  # of brokers that are made by hand too
    broker.recording = recording

"""Actors whose durations cannot be meant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage

from ..actor import Actor
from ..broker import Broker
from ..middleware import TimeLimit
from .findings import usable_broker, warning


def check_actors(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W007: limits of actors that make no sense. W013: time limits that the broker cuts short."""
    broker = usable_broker()
    if broker is None:
        return []
    found: list[CheckMessage] = []
    for actor in sorted(broker.actors.values(), key=lambda actor: actor.actor_name):
        name = f"Actor {actor.actor_name!r} ({actor.fn.__module__})"
        found += [warning("W007", f"{name}: {text}", "Durations are milliseconds.") for text in _oddities(actor)]
        found += [warning("W013", f"{name}: {text}", _TIMEOUT) for text in _cut_short(actor, broker)]
    return found


_TIMEOUT = "Give it a time_limit below that, or the server a longer timeout and the broker its delivery_timeout."


def _cut_short(actor: Actor[Any, Any], broker: Broker) -> Iterator[str]:
    timeout = broker.delivery_timeout
    if timeout is None:
        return
    default = next((item.time_limit for item in broker.middleware if isinstance(item, TimeLimit)), None)
    limit = actor.options.get("time_limit", default)
    if limit is None or math.isinf(limit):
        yield f"it has no time limit, but the server takes back what runs longer than {timeout} ms."
    elif limit > timeout:
        yield f"time_limit is {limit} ms, but the server takes back what runs longer than {timeout} ms."


def _oddities(actor: Actor[Any, Any]) -> Iterator[str]:
    options = actor.options
    for name in ("time_limit", "max_age"):
        value = options.get(name)
        if value is not None and value < 1_000:
            yield f"{name} is {value} ms, less than a second."
    shortest, longest = options.get("min_backoff"), options.get("max_backoff")
    if shortest is not None and longest is not None and shortest > longest:
        yield f"min_backoff, {shortest} ms, is more than max_backoff, {longest} ms."
    oldest = options.get("max_age")
    if oldest is not None and shortest is not None and options.get("max_retries") != 0 and oldest < shortest:
        yield f"max_age, {oldest} ms, is over before the first retry, after {shortest} ms."

"""Actors whose durations cannot be meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage

from ..actor import Actor
from .findings import usable_broker, warning


def check_actors(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W007: limits of actors that make no sense."""
    broker = usable_broker()
    actors = [] if broker is None else sorted(broker.actors.values(), key=lambda actor: actor.actor_name)
    return [
        warning("W007", f"Actor {actor.actor_name!r} ({actor.fn.__module__}): {text}", "Durations are milliseconds.")
        for actor in actors
        for text in _oddities(actor)
    ]


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

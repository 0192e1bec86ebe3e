"""Where RabbitMQ is: URLs and pika's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, TypeAlias

import pika
from pika.connection import Parameters

from ...errors import did_you_mean

Given: TypeAlias = Parameters | Mapping[str, Any]
"""One node: pika's parameters, or what makes them."""


def make_parameters(
    url: str | Sequence[str] | None, parameters: Given | Iterable[Given] | None, options: dict[str, Any]
) -> list[Parameters]:
    """The nodes that may be asked, one after the other. Several URLs are a list, or one text with ``;`` between them.

    ValueError when they are given twice, or make no sense; TypeError for an option that pika does not know.
    """
    if sum((url is not None, parameters is not None, bool(options))) > 1:
        raise ValueError("Give url=, parameters= or pika's own parameters, and one of them only.")
    if parameters is not None:
        nodes = [parameters] if isinstance(parameters, Parameters | Mapping) else list(parameters)
        found = [node if isinstance(node, Parameters) else _connection_parameters(node) for node in nodes]
    elif url is not None:
        urls = url.split(";") if isinstance(url, str) else url
        found = [pika.URLParameters(one.strip()) for one in urls if one.strip()]
    else:
        found = [_connection_parameters(options)]
    if not found:
        raise ValueError("No address of RabbitMQ is given.")
    for one in found:
        one.heartbeat = 0  # but for connections that hold messages, see heartbeats
        one.blocked_connection_timeout = None  # senders wait as long as they are told to, and not longer
    return found


def _connection_parameters(options: Mapping[str, Any]) -> Parameters:
    """TypeError that names what pika does not know, and no value: one may be a password."""
    known = sorted(set(signature(pika.ConnectionParameters.__init__).parameters) - {"self"})
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"RabbitmqBroker got an unexpected keyword argument {name!r}.{hint}")
    return pika.ConnectionParameters(**options)


def address(parameters: Sequence[Parameters]) -> str:
    """What people see of it: no password, and no name that it belongs to."""
    scheme = "amqps" if parameters[0].ssl_options is not None else "amqp"
    hosts = ",".join(f"{one.host}:{one.port}" for one in parameters)
    host = parameters[0].virtual_host
    return f"{scheme}://{hosts}" + ("" if host == "/" else f"/{host}")

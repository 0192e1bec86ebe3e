"""Signs of life on connections that hold messages: without them RabbitMQ would keep those of a lost host for hours.

RabbitMQ closes a connection on which nothing has arrived for two to three times the negotiated seconds, and gives back
what it held. So the heartbeat follows from the lease, and a connection is lost within about one lease.
"""

from __future__ import annotations

FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_PATIENT = 60


def seconds(lease: int, *, alone: bool = False) -> int:
    """The heartbeat to agree on, for a lease in milliseconds.

    ``alone``: no other process can beat for this one while its threads hold the GIL, as nobody can write to another's
    TLS connection. It gets as long as RabbitMQ itself proposes, at least.
    """
    return max(_PATIENT if alone else 1, lease // 3000)


class Unchecked:
    """In the place of pika's checker, which needs timers: the connection itself notes when it heard something."""

    def received(self) -> None: ...

    def stop(self) -> None: ...

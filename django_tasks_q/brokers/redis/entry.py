"""A message as Redis holds it: a header of fixed size, the reason of its death, and the payload."""

from __future__ import annotations

import struct

from ...deliveries import Delivery
from .keys import Keys

_HEADER = struct.Struct(">dIIIIdBB")
"""The same as in ``lua/parts/header.lua``."""

_BROUGHT = struct.Struct(">HH")


def as_delivery(queue_name: str, message_id: bytes, entry: bytes, *, claimed: bool = False) -> Delivery:
    """The delivery of an entry; ``claimed``: somebody holds it, which its header does not count yet."""
    _, number, life, retries, lost, enqueued_at, record, reason_size = _HEADER.unpack_from(entry)
    name = message_id.decode()
    return Delivery(
        (queue_name, name),
        name,
        queue_name,
        entry[_HEADER.size + reason_size :],
        number + claimed,
        retries,
        lost,
        life,
        int(enqueued_at),
        record == 1,
    )


def brought(keys: Keys, data: bytes) -> Delivery:
    """The delivery that ``hand_over`` in ``lua/parts/wake.lua`` claimed and sent."""
    key_size, id_size = _BROUGHT.unpack_from(data)
    key_end = _BROUGHT.size + key_size
    id_end = key_end + id_size
    queue_name = keys.queue_in(data[_BROUGHT.size : key_end])
    return as_delivery(queue_name, data[key_end:id_end], data[id_end:], claimed=True)


def fence(delivery: Delivery, worker_id: str) -> bytes:
    """What stands in the claim of a delivery: only who can say it owns the delivery."""
    return f"{delivery.life}:{delivery.number}:{worker_id}|".encode()


def owner_in(claim: bytes) -> str:
    """The worker that a claim names; empty for no claim."""
    return claim.split(b":", 2)[2].rpartition(b"|")[0].decode() if claim else ""

"""Commands as Redis reads them. Packing them here costs a fraction of what the client library takes for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def pack_parts(parts: Iterable[bytes]) -> bytes:
    """Arguments one after the other, without the count that begins a command."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def pack_command(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), pack_parts(parts))


def pack_call(name: bytes, script: bytes, keys: bytes, number: int, args: Sequence[bytes]) -> bytes:
    """``EVAL`` or ``EVALSHA`` with ``number`` keys that are packed already."""
    head = pack_parts((name, script, b"%d" % number))
    return b"*%d\r\n%b%b%b" % (3 + number + len(args), head, keys, pack_parts(args))

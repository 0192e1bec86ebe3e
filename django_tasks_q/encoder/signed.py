"""Messages that only the project's own processes can have written."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from ..errors import DecodeError
from .encoder import Encoder
from .strict import JSONEncoder

_MAGIC = b"dtq-hmac-sha256:"
_SALT = b"django_tasks_q.encoder.SignedEncoder"
_SIZE = hashlib.sha256().digest_size


class SignedEncoder(Encoder):
    """Another encoder's bytes behind an HMAC with SHA-256 (RFC 2104); a wrong signature is a DecodeError.

    Named by the setting ``ENCODER`` it signs with ``SECRET_KEY`` and also accepts ``SECRET_KEY_FALLBACKS``. It shows
    who wrote a message and hides nothing. What was sent without a signature becomes a dead letter, ``undecodable``.

    Parameters:
        encoder: what is signed; JSONEncoder when not given.
        keys: the first one signs, any of them is accepted, so that keys can be changed while messages wait.
    """

    def __init__(self, encoder: Encoder | None = None, *, keys: Sequence[str | bytes]) -> None:
        if isinstance(keys, str | bytes) or not keys or not all(keys):
            raise ValueError("keys is a list of at least one secret, and none of them is empty.")
        self._encoder = encoder or JSONEncoder()
        self._keys = [_derived(key.encode() if isinstance(key, str) else key) for key in keys]

    def encode(self, data: dict[str, Any]) -> bytes:
        inner = self._encoder.encode(data)
        return _MAGIC + hmac.digest(self._keys[0], inner, "sha256") + inner

    def decode(self, data: bytes) -> dict[str, Any]:
        start = len(_MAGIC) + _SIZE
        if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
            raise DecodeError("Not signed.", data)
        signature, inner = bytes(data[len(_MAGIC) : start]), bytes(data[start:])
        if not any(hmac.compare_digest(signature, hmac.digest(key, inner, "sha256")) for key in self._keys):
            raise DecodeError("The signature is wrong.", data)
        return self._encoder.decode(inner)


def _derived(key: bytes) -> bytes:
    """A key for this purpose alone, so that nothing else that the secret signs can pass for a message."""
    return hmac.digest(key, _SALT, "sha256")

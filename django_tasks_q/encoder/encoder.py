"""What turns messages into bytes and back: its meaning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Encoder(ABC):
    """Turns the dict of a message into bytes and back.

    ``encode`` raises :class:`EncodeError`, ``decode`` raises :class:`DecodeError`.
    """

    @abstractmethod
    def encode(self, data: dict[str, Any]) -> bytes: ...

    @abstractmethod
    def decode(self, data: bytes) -> dict[str, Any]: ...

"""Messages as pickles."""

from __future__ import annotations

import pickle
from typing import Any

from ..errors import DecodeError, EncodeError
from .encoder import Encoder


class PickleEncoder(Encoder):
    """Any Python object. Whoever can write to the broker can then run code in the worker: a check warns."""

    def encode(self, data: dict[str, Any]) -> bytes:
        try:
            return pickle.dumps(data)
        except Exception as error:
            raise EncodeError(f"Cannot be pickled: {error}") from error

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            decoded = pickle.loads(data)
        except Exception as error:
            raise DecodeError(f"Not a pickle: {error}", data, error) from error
        except SystemExit as error:  # a pickle may ask for anything
            raise DecodeError("A pickle that would end the process.", data) from error
        if type(decoded) is not dict:
            raise DecodeError(f"Expected a pickled dict, found {type(decoded).__name__}.", data)
        return decoded

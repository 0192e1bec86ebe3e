"""Results as they are stored: a value, or the failure that stands in its place."""

from __future__ import annotations

from typing import Any, Final

from ..encoder import Encoder
from ..errors import DecodeError, MessageTooLarge, ResultFailure
from ..outcomes import ErrorInfo


class _Missing:
    def __repr__(self) -> str:
        return "<Missing>"


Missing: Final = _Missing()
"""Stands for a result that is not there, where None may be one."""

_VALUE, _FAILURE = "result", "failure"


def pack_value(encoder: Encoder, value: Any, limit: int) -> bytes:
    """A value of at most ``limit`` bytes. EncodeError with the path of what cannot be encoded, as ``result.user``."""
    payload = encoder.encode({_VALUE: value})
    if len(payload) > limit:
        raise MessageTooLarge(f"result has {len(payload)} bytes, more than MAX_MESSAGE_BYTES, {limit}.")
    return payload


def pack_failure(encoder: Encoder, error: ErrorInfo) -> bytes:
    """What ended a message, or kept its result from being stored."""
    name = error.type.rpartition(".")[2]
    return encoder.encode({_FAILURE: [name, error.message, error.traceback]})


def not_stored(why: str, kind: str = "ResultError") -> ErrorInfo:
    """What a record says of a message whose result could not be encoded or stored."""
    return ErrorInfo(kind, f"The result is not stored: {why}")


def unpack(encoder: Encoder, payload: bytes) -> Any:
    """The value. ResultFailure when there is a failure in its place, DecodeError for what is neither."""
    stored = encoder.decode(payload)
    if _VALUE in stored:
        return stored[_VALUE]
    try:
        kind, text, traceback = map(str, stored[_FAILURE])
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError("Not a result.", payload, error) from error
    raise ResultFailure(f"{kind}: {text}" if text else kind, kind, text, traceback)

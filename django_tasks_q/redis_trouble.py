"""What may go wrong between this process and Redis, as the errors that the engine knows."""

from __future__ import annotations

import re

from redis import exceptions

from .errors import BrokerError, ConnectionFailed

_PASSING = {
    "LOADING": "it is loading its data",
    "BUSY": "it is busy with a script",
    "READONLY": "it is a replica",
    "UNBLOCKED": "it has become a replica",
    "MASTERDOWN": "its master is away",
    "CLUSTERDOWN": "the cluster is down",
    "TRYAGAIN": "the cluster is moving its data",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "it has too few replicas",
    "OOM": "it is out of memory (maxmemory)",
}
"""Refusals that pass, or that somebody has to end: nothing has happened, and the same may succeed later."""

_KINDS: dict[type[Exception], str] = {
    exceptions.BusyLoadingError: "LOADING",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}


_WITHIN_A_SCRIPT = re.compile(r": -([A-Z]+) ")
"""What Redis 6 puts around the refusal of a command that a script called ends so, and with the refusal."""


def refusal(error: Exception, address: str) -> BrokerError:
    """What a refusal of Redis means. The client library takes the code off those that it knows."""
    text, code = str(error), _code_of(error)
    if code in _PASSING:
        return ConnectionFailed(f"Redis at {address} does not serve: {_PASSING[code]} ({text}).")
    if isinstance(error, exceptions.AskError):
        return ConnectionFailed(
            f"Redis at {address} does not serve: a slot of the cluster moves to another node ({text})."
        )
    if isinstance(error, exceptions.ConnectionError):  # a password that is wrong, too many clients
        return ConnectionFailed(f"Redis at {address} does not let us in: {text}")
    return BrokerError(f"Redis at {address}: {text}")


def says_replica(reply: object) -> bool:
    """Whether a reply says that the server is no master (any more)."""
    return isinstance(reply, exceptions.RedisError) and _code_of(reply) == "READONLY"


def _code_of(error: Exception) -> str:
    text = str(error)
    code = next((code for kind, code in _KINDS.items() if isinstance(error, kind)), text.partition(" ")[0])
    if code not in _PASSING and (inner := _WITHIN_A_SCRIPT.search(text)):
        code = inner[1]
    if (code not in _PASSING and "out of memory" in text) or "'maxmemory'" in text:
        code = "OOM"
    return code

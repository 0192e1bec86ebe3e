"""What may cost messages on a Redis as it is set up: for people to read."""

from __future__ import annotations

from .endpoint import Endpoint, ask_one
from .packing import pack_command


def find_risks(endpoint: Endpoint, *, waits_for_replicas: bool) -> list[str]:
    """Sentences about one server. BrokerConnectionError when it cannot be reached."""
    found = []
    info = _info(endpoint)
    where = f"Redis at {endpoint.address}"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"{where} drops messages when it is full (maxmemory-policy {policy}). Set noeviction.")
    if info.get("aof_enabled", "0") != "1":
        found.append(
            f"{where} keeps no append-only file: what was sent since the last snapshot is lost with the server. "
            "Set appendonly yes."
        )
        if not waits_for_replicas:
            found.append(f"No send waits for a replica of {where}. Set wait_replicas where there is one.")
    return found


def _info(endpoint: Endpoint) -> dict[str, str]:
    text = ask_one(endpoint, pack_command(b"INFO", b"memory")) + ask_one(
        endpoint, pack_command(b"INFO", b"persistence")
    )
    pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}

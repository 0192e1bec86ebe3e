"""What a broker can do, as values: the table in the documentation and the conformance suite are made from them."""

from __future__ import annotations

from typing import Literal

import msgspec


class Capability(msgspec.Struct, frozen=True):
    """``same`` as the model, ``weaker`` or ``none``; ``how`` says in which way, for the table in the documentation."""

    level: Literal["same", "weaker", "none"] = "same"
    how: str = ""

    def __bool__(self) -> bool:
        return self.level != "none"


SAME = Capability()


class Capabilities(msgspec.Struct, frozen=True):
    """One value for each promise that brokers may keep differently. The stub, the model, keeps them all."""

    priorities: Capability = SAME
    front_requeue: Capability = SAME
    delays: Capability = SAME
    fenced_settle: Capability = SAME
    atomic_settle: Capability = SAME
    unique_ids: Capability = SAME
    unique_keys: Capability = SAME
    suspects: Capability = SAME
    peek: Capability = SAME
    counts: Capability = SAME
    prompt_claims: Capability = SAME
    delivery_numbers: Capability = SAME
    transactional_send: Capability = Capability("none", "a send cannot be part of a database transaction")
    journal: Capability = SAME
    survives_restart: Capability = SAME

"""Who of so many has arrived, as values: no storage here, no clock."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Arrival(NamedTuple):
    """What an arrival found.

    ``done``: every party has arrived. ``failed``: one of them at least is not ok. ``is_completer``: the arrival of this
    member brought the gathering to where it is, done with failures or done without; it is true again when the same
    member arrives again, whose worker may have died before he acted on it, and for nobody else.
    """

    done: bool
    failed: bool
    is_completer: bool


class Gathering(msgspec.Struct, frozen=True):
    """How many have arrived, how many of them are not ok, and who made it complete.

    Whoever keeps one keeps the status of each member beside it: the numbers only say what those say one by one.
    """

    parties: int
    arrived: int = 0
    failed: int = 0
    completer: str = ""

    @property
    def done(self) -> bool:
        return self.arrived >= self.parties

    def joined_by(self, member: str, was_ok: bool | None, ok: bool, parties: int) -> Gathering:
        """With the arrival of a member that was not there before (``was_ok`` None), or with this status.

        ``parties`` 0: as many as were said before. Who was ok stays ok: what it did is done, whatever becomes of a
        repetition.
        """
        arrived = self.arrived + (was_ok is None)
        failed = self.failed + (was_ok is None and not ok) - (was_ok is False and ok)
        after = Gathering(parties or self.parties, arrived, failed, self.completer)
        if after.done and (not self.done or (self.failed and not after.failed)):
            return msgspec.structs.replace(after, completer=member)
        return after

    def as_seen_by(self, member: str) -> Arrival:
        return Arrival(self.done, self.failed > 0, self.done and self.completer == member)


def unexpected(key: str) -> LookupError:
    """The error of who comes to a gathering of which nobody knows how many it needs."""
    return LookupError(f"Nobody has said how many are expected at {key!r}, or it is forgotten already.")

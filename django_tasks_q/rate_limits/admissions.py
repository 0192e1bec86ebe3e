"""How many were admitted lately, as values: no storage here, no clock."""

from __future__ import annotations

from typing import Self

import msgspec

_SLOTS = 100

SLACK = 1.05
"""Turns stand a little further apart than they have to: who comes late at his must not cost another one his own."""


class Span(msgspec.Struct, frozen=True):
    """The time that a limit is about, in milliseconds.

    Admissions are counted in slots of ``width``, which begin at multiples of it; a slot counts until ``window`` after
    its end. So no window of that length has more than the limit, whenever it begins; with none, a slot is a bucket.
    """

    width: int
    window: int = 0

    @classmethod
    def sliding(cls, milliseconds: int) -> Self:
        """A window of that length, whenever it begins. It is counted in hundredths, so it is up to one longer."""
        return cls(max(1, milliseconds // _SLOTS), milliseconds)

    @property
    def kept(self) -> int:
        """For how long an admission counts at most."""
        return self.width + self.window


class Admissions(msgspec.Struct, frozen=True, array_like=True):
    """Slots that count, by the time of their end, and when the last turn is that was given to somebody who waits."""

    slots: tuple[tuple[int, int], ...] = ()
    turn: int = 0

    def admit(self, now: int, limit: int, span: Span, queues: bool) -> tuple[Admissions, int]:
        """What stands after somebody has come, and for how long he has to wait: 0, he was admitted.

        ``queues``: who has to wait comes again at that time, so each is given another one, at the pace of the limit.
        """
        slots = tuple((end, count) for end, count in self.slots if end + span.window > now)
        counted = sum(count for _, count in slots)
        if counted < limit:
            turn = 0 if self._leaves_room(now, counted, limit, span) else self.turn
            return Admissions(_one_more(slots, (now // span.width + 1) * span.width), turn), 0
        wait = _until_room(slots, limit) + span.window - now
        if not queues:
            return self, wait
        turn = max(self.turn + int(span.kept * SLACK / limit) + 1, now + wait)
        return Admissions(slots, turn), turn - now

    def _leaves_room(self, now: int, counted: int, limit: int, span: Span) -> bool:
        """Whether more is free than those would leave who were given turns, had they not been discarded meanwhile, or
        found room before, for the limit was raised. Then nobody has to wait behind them."""
        last = self.slots[-1][0] if self.slots else 0
        return 2 * counted < limit - 1 or now - last > 2 * span.kept


def _one_more(slots: tuple[tuple[int, int], ...], end: int) -> tuple[tuple[int, int], ...]:
    """One more in the slot that ends then. A clock that went back a little counts it in the last slot there is."""
    if slots and slots[-1][0] >= end:
        return (*slots[:-1], (slots[-1][0], slots[-1][1] + 1))
    return (*slots, (end, 1))


def _until_room(slots: tuple[tuple[int, int], ...], limit: int) -> int:
    """The end of the slot that has to pass until fewer than the limit count."""
    left = sum(count for _, count in slots)
    for end, count in slots:
        left -= count
        if left < limit:
            return end
    return slots[-1][0]

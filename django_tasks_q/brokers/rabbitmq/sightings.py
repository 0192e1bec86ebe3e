"""What a reader of the journal has seen of each writer."""

from __future__ import annotations

from typing import NamedTuple

MOST = 10_000
"""Writers to remember: each process is one, and nobody says when it ends. Of who was forgotten no hole is seen."""


class Sighting(NamedTuple):
    """The last message of a writer: its place among them, and when it was written (epoch ms)."""

    sequence: int
    at: int


class Sightings:
    """The last that was seen of each writer, those of long ago forgotten first."""

    def __init__(self, known: dict[str, Sighting] | None = None) -> None:
        self._known: dict[str, Sighting] = dict(known or {})

    def copy(self) -> Sightings:
        """As much is known, and what is added to one is not to the other."""
        return Sightings(self._known)

    def last(self, writer: str) -> Sighting | None:
        """None for a writer of whom nothing was seen."""
        return self._known.get(writer)

    def add(self, writer: str, sequence: int, at: int) -> None:
        """What comes again, because nobody knew whether it had come, changes nothing."""
        known = self._known.pop(writer, None)
        self._known[writer] = Sighting(sequence, at) if known is None or sequence > known.sequence else known
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def forget(self, writer: str) -> None:
        self._known.pop(writer, None)

    def clear(self) -> None:
        self._known.clear()

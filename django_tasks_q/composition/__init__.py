"""Messages that follow each other, and messages that belong together."""

from __future__ import annotations

from ..message import Message, set_join
from .group import group
from .pipeline import pipeline


def _join(first: Message[object], second: Message[object] | pipeline | group) -> pipeline:
    return pipeline([first, second])


set_join(_join)

__all__ = ["group", "pipeline"]

"""Pages of a list that may have millions of rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator

from ..operations.filters import capped_count

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator

CAP = 10_000
"""Rows that are counted, and can be paged to; who looks for more narrows the filter."""


class CappedPaginator(Base):
    """Counts no further than :data:`CAP`."""

    @cached_property
    def count(self) -> int:
        return capped_count(self.object_list, CAP)  # type: ignore[arg-type]

    @property
    def is_capped(self) -> bool:
        """Whether there may be more than were counted."""
        return self.count >= CAP

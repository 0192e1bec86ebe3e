"""Brokers whose groups are counted and whose results are kept beside them."""

from __future__ import annotations

from tests.support.fixtures import store, trees, vendor  # noqa: F401 - pytest finds them here

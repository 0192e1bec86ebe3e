"""Stamps, revocations and pauses."""

from __future__ import annotations

from tests.support.fixtures import store, trees, vendor  # noqa: F401 - pytest finds them here

"""The process that runs no people's code: it keeps workers' leases and clears up after the dead."""

from __future__ import annotations

from .keeper import Keeper

__all__ = ["Keeper"]

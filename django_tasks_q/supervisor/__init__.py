"""Processes: who starts them, who watches them, and how they end."""

from __future__ import annotations

from .options import Options
from .supervisor import Supervisor

__all__ = ["Options", "Supervisor"]

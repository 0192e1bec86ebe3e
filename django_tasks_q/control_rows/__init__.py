"""Revocations and pauses as rows of the records' database."""

from .store import DatabaseControlStore

__all__ = ["DatabaseControlStore"]

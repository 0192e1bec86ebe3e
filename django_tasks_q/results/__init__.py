"""Results: what actors return, kept for whoever asks."""

from __future__ import annotations

from ..errors import ResultError, ResultFailure, ResultMissing, ResultTimeout
from . import reader  # noqa: F401  # from now on messages find their results
from .backend import ResultBackend, get_result_backend
from .middleware import Results
from .result import Missing

__all__ = [
    "Missing",
    "ResultBackend",
    "ResultError",
    "ResultFailure",
    "ResultMissing",
    "ResultTimeout",
    "Results",
    "get_result_backend",
]

"""Counts and durations of messages, for Prometheus."""

from __future__ import annotations

from importlib.util import find_spec

from .middleware import Prometheus

if find_spec("prometheus_client") is None:
    raise ImportError('Prometheus needs its client library: pip install "django-tasks-q[prometheus]"')

__all__ = ["Prometheus"]

"""What the settings describe: the broker and what belongs to it."""

from __future__ import annotations

from .addresses import BACKENDS, check_backend_url, check_broker_url, check_records_database
from .backends import rate_limiter_backend, result_backend
from .following import SettingsBroker, settings_broker
from .named import encoder_class, make_encoder, make_middleware, make_recording, middleware_stack
from .services import make_worker_services
from .store import give_settings, make_broker, open_store

__all__ = [
    "BACKENDS",
    "SettingsBroker",
    "check_backend_url",
    "check_broker_url",
    "check_records_database",
    "encoder_class",
    "give_settings",
    "make_broker",
    "make_encoder",
    "make_middleware",
    "make_recording",
    "make_worker_services",
    "middleware_stack",
    "open_store",
    "rate_limiter_backend",
    "result_backend",
    "settings_broker",
]

"""Django meets the engine: settings become a broker, apps' ``tasks`` become actors."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from . import conf, records_database
from .actor import Actor
from .broker import get_broker, set_broker_factory
from .brokers.unusable import UnusableBroker
from .configured import make_worker_services, rate_limiter_backend, result_backend, settings_broker
from .gather import set_gathered_items
from .logging import get_logger
from .message import set_lookup
from .outbox import set_outbox
from .rate_limits import get_rate_limiter_backend
from .results import get_result_backend
from .rules import set_control_store_factory
from .unique_holders import set_unique_holders
from .waiting_room import set_waiting_room
from .worker.duties import set_services_factory

logger = get_logger(__name__)

set_broker_factory(settings_broker.make)
get_rate_limiter_backend.make = rate_limiter_backend
get_result_backend.make = result_backend
set_services_factory(make_worker_services)


class DjangoTasksQConfig(AppConfig):
    name = "django_tasks_q"
    label = "django_tasks_q"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the actors of every app. No connection is made here.

        Settings that cannot be used end ``runworkers``; everything else goes on, so that the system checks can say
        what is wrong, and whoever uses the broker gets the error.
        """
        from . import checks
        from .control_rows import DatabaseControlStore
        from .operations import lookup
        from .waiting import DatabaseGatheredItems, DatabaseOutbox, DatabaseUniqueHolders, DatabaseWaitingRoom

        set_lookup(lookup)
        set_outbox(DatabaseOutbox())
        set_waiting_room(DatabaseWaitingRoom())
        set_control_store_factory(lambda broker: DatabaseControlStore(broker, records_database.alias(broker)))
        set_unique_holders(DatabaseUniqueHolders())
        set_gathered_items(DatabaseGatheredItems())
        checks.register_checks()
        setting_changed.connect(settings_broker.follow)
        error = _wrong_settings()
        if error is None:
            _import_actors(conf.get("AUTODISCOVER"))
            for actor in get_broker().actors.values():
                _set_app_label(actor)
        elif _starts_workers():
            print(f"runworkers: {error}", file=sys.stderr)
            raise SystemExit(2)
        else:
            logger.critical("%s No message can be sent; see 'manage.py check'.", error)


def _wrong_settings() -> Exception | None:
    broker: object = get_broker()
    if isinstance(broker, UnusableBroker):
        return broker.error
    try:
        conf.configured()  # somebody has set a broker of his own
    except ImproperlyConfigured as error:
        return error
    return None


def _import_actors(modules: list[str]) -> None:
    try:
        autodiscover_modules(*modules)
    except Exception:
        if not _starts_workers():
            raise
        # This is long before the command runs, and its exit code for code that does not import is a promise.
        traceback.print_exc()
        print("runworkers: the actors cannot be imported, see above.", file=sys.stderr)
        raise SystemExit(2) from None


def _starts_workers() -> bool:
    return sys.argv[1:2] == ["runworkers"]


def _set_app_label(actor: Actor[Any, Any]) -> None:
    config = apps.get_containing_app_config(actor.fn.__module__)
    if config is not None:
        actor.app_label = config.label

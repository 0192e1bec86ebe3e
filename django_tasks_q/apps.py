"""Django meets the engine: settings become a broker, apps' ``tasks`` become actors."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from . import conf
from .actor import Actor
from .broker import get_broker, set_broker_factory
from .configured import make_broker

set_broker_factory(make_broker)


class DjangoTasksQConfig(AppConfig):
    name = "django_tasks_q"
    label = "django_tasks_q"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the actors of every app. No connection is made here."""
        from . import checks

        checks.register_checks()
        self._import_actors()
        for actor in get_broker().actors.values():
            _set_app_label(actor)

    def _import_actors(self) -> None:
        starts_workers = sys.argv[1:2] == ["runworkers"]
        try:
            modules = conf.get("AUTODISCOVER")
            get_broker()
        except ImproperlyConfigured as error:
            if not starts_workers:
                raise
            print(f"runworkers: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        try:
            autodiscover_modules(*modules)
        except Exception:
            if not starts_workers:
                raise
            # This is long before the command runs, and its exit code for code that does not import is a promise.
            traceback.print_exc()
            print("runworkers: the actors cannot be imported, see above.", file=sys.stderr)
            raise SystemExit(2) from None


def _set_app_label(actor: Actor[Any, Any]) -> None:
    config = apps.get_containing_app_config(actor.fn.__module__)
    if config is not None:
        actor.app_label = config.label

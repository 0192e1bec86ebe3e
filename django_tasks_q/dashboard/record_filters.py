"""The filters beside a list of records. They only say what is wanted; a ``Filter`` of the operations finds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import stamps
from ..broker import get_broker
from ..models import QueueState
from ..states import State
from . import presentation
from .read_only import records_alias
from .rows import batch_address

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList

REASONS = (
    "retries_exhausted",
    "throws",
    "time_limit",
    "age_limit",
    "unknown_actor",
    "bad_arguments",
    "undecodable",
    "delivery_limit",
    "lost",
)


class Choice(admin.SimpleListFilter):
    """One field's exact value, chosen among what this process knows: asking millions of rows would take seconds.

    What was asked for is a choice too, known or not, so that a link may name an actor of another release.
    """

    def known(self) -> Iterable[tuple[str, str]]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        choices = list(self.known())
        wanted = request.GET.get(self.parameter_name or "", "")
        if wanted and wanted not in dict(choices):
            choices.append((wanted, presentation.short(wanted, 80)))
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        return None


class StateFilter(Choice):
    title = gettext_lazy("state")
    parameter_name = "state"

    def known(self) -> Iterable[tuple[str, str]]:
        return [(state.value, capfirst(_(state.value))) for state in State]


class DelayFilter(Choice):
    title = gettext_lazy("state")
    parameter_name = "state"

    def known(self) -> Iterable[tuple[str, str]]:
        return [(state.value, capfirst(_(state.value))) for state in (State.DELAYED, State.RETRYING)]


class ActorFilter(Choice):
    title = gettext_lazy("actor")
    parameter_name = "actor_name"

    def known(self) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in sorted(get_broker().actors)]


class QueueFilter(Choice):
    title = gettext_lazy("queue")
    parameter_name = "queue_name"

    def known(self) -> Iterable[tuple[str, str]]:
        counted = QueueState.objects.using(records_alias()).values_list("queue_name", flat=True)[:1000]
        return [(name, name) for name in sorted({*get_broker().queues, *counted})]


class AppFilter(Choice):
    title = gettext_lazy("app")
    parameter_name = "app_label"

    def known(self) -> Iterable[tuple[str, str]]:
        labels = {actor.app_label for actor in get_broker().actors.values()}
        return [(label, label) for label in sorted(labels) if label]


class ReasonFilter(Choice):
    title = gettext_lazy("reason of death")
    parameter_name = "dead_reason"

    def known(self) -> Iterable[tuple[str, str]]:
        return [(reason, capfirst(reason.replace("_", " "))) for reason in REASONS]


def wrong_stamp(parameters: Mapping[str, str]) -> str:
    """What is wrong with the stamp that an address asks for; empty when nothing is."""
    wanted = parameters.get("stamp", "")
    try:
        _name = stamps.pair(wanted) if wanted else ""
    except ValueError as error:
        return _("That cannot be a stamp: %(error)s") % {"error": presentation.short(str(error), 300)}
    return ""


class StampFilter(admin.SimpleListFilter):
    """The messages that carry a stamp, which people type; the page of the stamp is a click away."""

    title = gettext_lazy("stamp")
    parameter_name = "stamp"
    template = "admin/django_tasks_q/stamp_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any) -> None:
        self.others = [(name, value) for name, value in request.GET.items() if name not in ("stamp", "p", "e")]
        super().__init__(request, params, model, model_admin)
        self.wanted = presentation.text(self.value() or "")
        self.error = wrong_stamp({"stamp": self.value() or ""})
        is_stamp = self.wanted and not self.error
        self.batch_url = batch_address(model_admin.address, self.wanted) if is_stamp else ""

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return []

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        everything = changelist.get_query_string(remove=["stamp"])
        yield {"selected": not self.value(), "query_string": everything, "display": _("All")}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        return None


PERIODS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}


def beginning(period: str) -> str:
    """When a period that ends now began, ISO 8601; empty for one that does not exist."""
    length = PERIODS.get(period)
    return "" if length is None else (timezone.now() - length).isoformat()


class PeriodFilter(admin.SimpleListFilter):
    """When messages were created: the last hour, day or week, or between two days."""

    title = gettext_lazy("creation")
    parameter_name = "created"
    template = "admin/django_tasks_q/period_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any) -> None:
        self.created_from = params.pop("created_from", [""])[-1]
        self.created_to = params.pop("created_to", [""])[-1]
        kept = ("created", "created_from", "created_to", "p")
        self.others = [(name, value) for name, value in request.GET.items() if name not in kept]
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("hour", _("Last hour")), ("day", _("Last day")), ("week", _("Last week"))]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        # What begins with "created" goes: a period and two days exclude each other.
        is_free = self.value() is None and not self.created_from and not self.created_to
        everything = changelist.get_query_string(remove=["created"])
        yield {"selected": is_free, "query_string": everything, "display": _("Any time")}
        for period, title in self.lookup_choices:
            address = changelist.get_query_string({"created": period}, remove=["created"])
            yield {"selected": self.value() == period, "query_string": address, "display": title}

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name, "created_from", "created_to"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        return None

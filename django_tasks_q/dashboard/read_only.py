"""What all pages share: read only, on the records' database, with the navigation on top, on any AdminSite."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from .. import records_database
from ..broker import get_broker
from ..errors import BrokerError
from ..logging import get_logger
from ..sql import Database
from . import permissions, presentation, reach
from .navigation import navigation
from .paginator import CappedPaginator

logger = get_logger(__name__)

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:

    class Base(admin.ModelAdmin[M]): ...
else:

    class Base(admin.ModelAdmin):
        def __class_getitem__(cls, model: Any) -> type:
            return cls


def records_alias() -> str:
    """The database that the pages look into."""
    return records_database.alias(get_broker())


class ReadOnlyAdmin(Base[M]):
    """A list of what the engine wrote. There are no stock views that add, change or delete, not even their addresses.

    Whoever may see messages sees it; for models with a permission of their own, that one is enough.
    """

    change_list_template = "admin/django_tasks_q/change_list.html"
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions: Any = None

    class Media:
        css = {"all": ["django_tasks_q/tasks.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.may(request, permissions.VIEW) or self._has_own_permission(request)

    def _has_own_permission(self, request: HttpRequest) -> bool:
        if "view" not in self.opts.default_permissions:
            return False
        return permissions.may(request, f"{self.opts.app_label}.view_{self.opts.model_name}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Whether an address may ask for it: by default nothing, or a column that nobody is shown could be guessed."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        found: QuerySet[M] = self.model._default_manager.using(records_alias())
        return found.order_by(*self.get_ordering(request))

    def get_urls(self) -> list[URLPattern]:
        return [self.page("", self.changelist_view, "changelist"), *self.own_urls()]

    def own_urls(self) -> list[URLPattern]:
        """The pages beside the list."""
        return []

    def page(self, route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        """A page that only staff reach, with the token against forgery checked."""
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(route, self.admin_site.admin_view(self._explaining(view)), name=full_name)

    def _explaining(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """The view, or a page with the reason when settings, broker or the records' database cannot be used at all."""

        @wraps(view)
        def explaining(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                return view(request, *args, **kwargs)
            except DataError as error:  # what no database can look for, such as a NUL character in an address
                return HttpResponseBadRequest(presentation.text(str(error)), content_type="text/plain; charset=utf-8")
            except (OperationalError, ProgrammingError, InterfaceError) as error:
                return self._trouble(request, _in_words(error))
            except (ImproperlyConfigured, BrokerError) as error:
                return self._trouble(request, error)

        return explaining

    def _trouble(self, request: HttpRequest, error: Exception) -> HttpResponse:
        logger.error("A page of the admin cannot be shown.", exc_info=error)
        title, text = _("This page cannot be shown"), presentation.short(str(error), 1000)
        return self.render(request, "trouble.html", status=503, title=title, trouble=text, is_list=True)

    def address(self, name: str, *args: Any, model: type[Model] | None = None) -> str:
        """The address of a page on this site."""
        opts = self.opts if model is None else model._meta
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_{name}", args=args, current_app=self.admin_site.name)

    def require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def render(self, request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
        """One of the pages beside the list."""
        request.current_app = self.admin_site.name
        whole = self._context(request) | context
        return TemplateResponse(request, f"admin/django_tasks_q/{template}", whole, status=status)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "navigation": navigation(request, self.admin_site, self.model),
            "broker_trouble": broker_trouble(),
        }

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "title": str(self.opts.verbose_name_plural).capitalize(),
            "navigation": navigation(request, self.admin_site, self.model),
            "nothing_here": _("Nothing here."),
            "broker_trouble": broker_trouble(),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)


def broker_trouble() -> str:
    """What a page says on top when the broker is away."""
    error = reach.trouble()
    return _("The broker cannot be reached: %(error)s") % {"error": presentation.short(error, 300)} if error else ""


def _in_words(error: Exception) -> BrokerError:
    """What the error of a query means for the records' database; one that means nothing there is raised."""
    try:
        with Database(records_alias()).errors():
            raise error
    except BrokerError as told:
        return told

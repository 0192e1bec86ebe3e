"""Mutexes: who holds them, since when and until when; and letting go for a holder that never will."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import clock
from ..broker import get_broker
from ..errors import BrokerError
from ..middleware.limits import call_next
from ..models import RateLimitMutex
from ..rate_limits import Held, get_rate_limiter_backend
from . import audit, permissions, presentation, reach, rows
from .deeds import tell_of_trouble
from .read_only import ReadOnlyAdmin

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[RateLimitMutex]
else:
    Base = ReadOnlyAdmin

MOST_HELD = 500


class MutexAdmin(Base):
    """The keys that somebody holds now, wherever the leases are kept."""

    def own_urls(self) -> list[URLPattern]:
        return [self.page("<str:object_id>/release/", self.release_view, "release")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        trouble, held = "", []
        try:
            held = _held()
        except BrokerError as error:
            trouble = presentation.short(str(error), 300)
        return self.render(
            request,
            "mutexes.html",
            title=_("Mutexes"),
            is_list=True,
            holders=[self._row(request, one) for one in held[:MOST_HELD]],
            left_out=max(0, len(held) - MOST_HELD),
            trouble=trouble,
        )

    def _row(self, request: HttpRequest, held: Held) -> dict[str, str]:
        holder, may_release = held.holder, permissions.may(request, permissions.VIEW, permissions.CONTROL)
        address = rows.message_address(self.address)
        release = f"{self.address('release', quote(held.key))}?token={holder.token}"
        return {
            "key": presentation.text(held.key),
            "limit": presentation.number(held.limit),
            "message": presentation.text(holder.message_id),
            "message_short": presentation.middle(presentation.text(holder.message_id)),
            "message_url": address(holder.message_id) if holder.message_id else "",
            "worker": presentation.text(holder.worker),
            "since": presentation.relative(clock.as_datetime(holder.since)),
            "expires": presentation.milliseconds(held.remaining),
            "release_url": release if may_release else "",
        }

    def release_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks, then ends one holder's lease; the holder sees that it has lost it, and may be running on."""
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        key, token = unquote(object_id), _token(request)
        back = self.address("changelist")
        try:
            held = next((one for one in _held() if _is(one, key, token)), None)
            if request.method == "POST":
                self._release(request, key, token)
                return HttpResponseRedirect(back)
        except BrokerError as error:
            tell_of_trouble(request, error)
            return HttpResponseRedirect(back)
        if held is None:
            messages.warning(request, _("Nobody holds it any more."))
            return HttpResponseRedirect(back)
        title = _("Release a mutex by force")
        return self.render(request, "release.html", title=title, holder=self._row(request, held), back=back)

    def _release(self, request: HttpRequest, key: str, token: int) -> None:
        with audit.logged_together():
            released = get_rate_limiter_backend().force_release(key, token)
            if released:
                audit.log(request, [RateLimitMutex(key=key)], _("Released by force."))
        if not released:
            messages.warning(request, _("Nobody holds it any more."))
            return
        text = ngettext("%(count)d lease was released.", "%(count)d leases were released.", released)
        messages.success(request, text % {"count": released})
        with suppress(BrokerError):  # then the next one comes by itself, after a while
            call_next(get_broker(), key)


def _held() -> list[Held]:
    backend = get_rate_limiter_backend()
    return reach.ask_store(backend, backend.inspect)


def _is(held: Held, key: str, token: int) -> bool:
    return held.key == key and held.holder.token == token


def _token(request: HttpRequest) -> int:
    text = request.GET.get("token", "")
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise Http404(_("The address names no holder."))
    return int(text)

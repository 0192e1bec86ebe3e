"""Revocations: what was called off, by whom and why; calling off more, and lifting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..broker import get_broker
from ..control import lift, revoke
from ..errors import BrokerError
from ..models import Revocation
from . import audit, obedience, permissions, presentation, revoked
from .deeds import MOST_NAME, tell_of_trouble
from .once import asked_at, one_at_a_time
from .question import Question, ask_or_do
from .read_only import ReadOnlyAdmin, records_alias
from .revocation_form import RevocationForm
from .standing import database_now

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[Revocation]
else:
    Base = ReadOnlyAdmin


class RevocationAdmin(Base):
    """The newest first."""

    list_display: Any = ("about", "state", "how", "reason_line", "created_by", "created", "ends", "number")
    list_display_links: Any = ("about",)
    ordering: ClassVar[Any] = ("-created_at", "-pk")

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("new/", self.new_view, "new"),
            self.page("<int:object_id>/change/", self.change_view, "change"),
            self.page("<int:object_id>/lift/", self.lift_view, "lift"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may = permissions.may(request, permissions.VIEW, permissions.CONTROL)
        tools = [{"name": "new-revocation", "text": _("New revocation"), "url": self.address("new")}] if may else []
        return super().changelist_view(request, {"tools": tools, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: Any, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What it is about, and what it found."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = _row(object_id)
        said = revoked.conditions(row)
        return self.render(
            request,
            "revocation.html",
            title=_("Revocation #%(number)s") % {"number": row.pk},
            row=revoked.revocation_row(self.address, request, row),
            conditions=revoked.with_links(self.address, said),
            match_all=said.get("match") == "all",
            facts=_facts(row),
            counts=presentation.by_state(row.counts),
            unreached=obedience.in_words(obedience.unreached()) if revoked.holds(row) else "",
        )

    def lift_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        row = _row(object_id)
        question = Question(
            title=_("Lift a revocation"),
            question=_("Lift revocation #%(number)s?") % {"number": row.pk},
            consequence=_(
                "What is sent from now on runs, and so does what waits and was not reached. What has ended as revoked "
                "stays so."
            ),
            button=_("Lift"),
            act=lambda: lift(row.pk),
            thing=row,
            logged=_("Lifted."),
            done=_("Revocation #%(number)s was lifted.") % {"number": row.pk},
            too_late=_("It does not hold any more."),
            back=self.address("change", row.pk),
            facts=[*revoked.in_words(revoked.conditions(row)), *_facts(row)],
        )
        return ask_or_do(self, request, question)

    # A new one: the form, the question with what it would be about, and the deed

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """GET shows the form, or with ``ask`` the question at once; POST asks, and does it once it is confirmed."""
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        records_alias()  # settings that cannot be used are told of before somebody fills in a form
        is_post = request.method == "POST"
        if not is_post and "ask" not in request.GET:
            return self._form(request, RevocationForm(initial={"expires": "week", **request.GET.dict()}))
        form = RevocationForm(request.POST if is_post else request.GET)
        if not form.is_valid():
            return self._form(request, form)
        if is_post and request.POST.get("confirmed") == "yes":
            return self._revoke(request, form)
        return self._ask(request, form)

    def _form(self, request: HttpRequest, form: RevocationForm) -> HttpResponse:
        return self.render(
            request,
            "new_revocation.html",
            title=_("New revocation"),
            form=form,
            known={"actor": sorted(get_broker().actors), "queue": sorted(get_broker().queues)},
            action=self.address("new"),
            back=self.address("changelist"),
        )

    def _ask(self, request: HttpRequest, form: RevocationForm) -> HttpResponse:
        arguments = form.as_arguments()
        counts = revoke(**arguments, dry_run=True)
        said = _as_row(form)
        return self.render(
            request,
            "confirm_revocation.html",
            title=_("Revoke and terminate") if arguments["terminate"] else _("Revoke"),
            terminate=arguments["terminate"],
            facts=[*revoked.in_words(said), *_wishes(form)],
            match_all=said.get("match") == "all",
            total=presentation.number(counts.total),
            counts=presentation.by_state(counts.counts),
            hidden=[*form.as_hidden(), ("asked_at", database_now().isoformat()), ("confirmed", "yes")],
            action=self.address("new"),
            back=self.address("changelist"),
        )

    def _revoke(self, request: HttpRequest, form: RevocationForm) -> HttpResponse:
        try:
            number, total = _revoke_once(request, form)
        except BrokerError as error:
            tell_of_trouble(request, error)
            return HttpResponseRedirect(self.address("changelist"))
        text = ngettext(
            "Revoked; it was about %(count)s message that had not ended.",
            "Revoked; it was about %(count)s messages that had not ended.",
            total,
        )
        messages.success(request, text % {"count": presentation.number(total)})
        obedience.tell(request)
        return HttpResponseRedirect(self.address("change", number))

    # Columns

    @admin.display(description=gettext_lazy("revocation"))
    def about(self, row: Revocation) -> str:
        return f"#{row.pk} {revoked.about(row)}"

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Revocation) -> SafeString:
        return format_html('<span class="dtq-state" data-state="{}">{}</span>', *revoked.standing(row))

    @admin.display(description=gettext_lazy("what runs"))
    def how(self, row: Revocation) -> str:
        return _("is terminated") if row.terminate else _("goes on")

    @admin.display(description=gettext_lazy("reason"))
    def reason_line(self, row: Revocation) -> str:
        return presentation.short(row.reason, 120)

    @admin.display(description=gettext_lazy("created"))
    def created(self, row: Revocation) -> SafeString | str:
        return presentation.moment(row.created_at)

    @admin.display(description=gettext_lazy("ends"))
    def ends(self, row: Revocation) -> SafeString | str:
        end = row.lifted_at or row.expires_at
        return _("when it is lifted") if end is None else presentation.moment(end)

    @admin.display(description=gettext_lazy("messages"))
    def number(self, row: Revocation) -> SafeString:
        counts = row.counts if isinstance(row.counts, dict) else {}
        total = sum(value for value in counts.values() if isinstance(value, int))
        return format_html('<span class="dtq-number">{}</span>', presentation.number(total))


def _row(object_id: int) -> Revocation:
    row = Revocation.objects.using(records_alias()).filter(pk=object_id).first()
    if row is None:
        raise Http404(_("There is no such revocation."))
    return row


def _facts(row: Revocation) -> list[tuple[str, str]]:
    named = [
        (_("What runs"), _("is terminated") if row.terminate else _("goes on")),
        (_("Reason"), presentation.text(row.reason)),
        (_("By"), presentation.text(row.created_by)),
        (_("Created"), presentation.absolute(row.created_at)),
        (_("Expires"), presentation.absolute(row.expires_at) if row.expires_at else _("never")),
        (_("Lifted"), presentation.absolute(row.lifted_at) if row.lifted_at else ""),
    ]
    if revoked.conditions(row).get("future"):
        named.insert(0, (_("Reaches"), _("also what is sent later")))
    return [(name, value) for name, value in named if value]


def _wishes(form: RevocationForm) -> list[tuple[str, str]]:
    """What the form says beside its conditions."""
    given = form.cleaned_data
    expires = dict(form.fields["expires"].choices)[given["expires"]]  # type: ignore[attr-defined]
    named = [
        (_("Reaches"), _("also what is sent later") if given["future"] else ""),
        (_("Reason"), presentation.text(given["reason"])),
        (_("Expires"), str(expires)),
    ]
    return [(name, value) for name, value in named if value]


def _as_row(form: RevocationForm) -> dict[str, Any]:
    """The conditions of a form, as a row keeps them."""
    return dict(msgspec.to_builtins(form.conditions, order="deterministic"))


def _revoke_once(request: HttpRequest, form: RevocationForm) -> tuple[int, int]:
    """Revoke, unless this person has revoked the same since the question was asked: a form may be sent twice at once.

    Returns the number of the revocation, and how many messages it was about.
    """
    by = request.user.get_username()[:MOST_NAME]
    with audit.logged_together():
        one_at_a_time(request)
        mine = Revocation.objects.using(records_alias()).filter(
            created_by=by, created_at__gte=asked_at(request), terminate=form.cleaned_data["terminate"]
        )
        wanted = _as_row(form)
        known = next((row for row in mine.order_by("-pk")[:20] if row.conditions == wanted), None)
        if known is not None:
            return known.pk, sum(known.counts.values())
        made = revoke(**form.as_arguments(), by=by)
        assert made.id is not None
        audit.log(request, [_row(made.id)], _("Revoked."))
    return made.id, made.total

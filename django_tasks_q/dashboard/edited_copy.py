"""Requeueing a dead letter with other arguments: a form with the broker's whole message, never the record."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..broker import get_broker
from ..errors import BrokerError, DecodeError
from ..message import Message
from ..models import MessageRecord
from ..operations import repair
from . import audit, presentation, reach
from .deeds import tell_of_trouble

if TYPE_CHECKING:
    from .message_pages import MessageAdmin


class CopyForm(forms.Form):
    """Arguments as JSON."""

    args = forms.CharField(label=gettext_lazy("Arguments"), widget=forms.Textarea(attrs={"rows": 6}), strip=False)
    kwargs = forms.CharField(
        label=gettext_lazy("Keyword arguments"), widget=forms.Textarea(attrs={"rows": 10}), strip=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.fields:
            self.fields[name].widget.attrs.update({"class": "dtq-json", "spellcheck": "false"})

    def clean_args(self) -> list[Any]:
        value = _json(self.cleaned_data["args"])
        if not isinstance(value, list):
            raise forms.ValidationError(_('A JSON list is wanted, such as [1, "two"].'))
        return value

    def clean_kwargs(self) -> dict[str, Any]:
        value = _json(self.cleaned_data["kwargs"])
        if not isinstance(value, dict):
            raise forms.ValidationError(_('A JSON object is wanted, such as {"name": 1}.'))
        return value

    def refuse(self, error: Exception) -> None:
        """Put an error next to the field that it is about."""
        text = presentation.text(str(error))
        self.add_error("kwargs" if "kwargs" in text or "keyword" in text else "args", text)


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        place = {"error": error.msg, "line": error.lineno, "column": error.colno}
        raise forms.ValidationError(_("Not JSON: %(error)s in line %(line)d, column %(column)d.") % place) from None
    except (ValueError, RecursionError) as error:
        raise forms.ValidationError(_("Not JSON: %(error)s") % {"error": error}) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(_("%(name)s is no number.") % {"name": name})


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(_("a name is there twice."))
    return found


class EditedCopy:
    """The form for one dead letter. Whoever gets here may requeue."""

    def __init__(self, page: MessageAdmin, record: MessageRecord) -> None:
        self._page = page
        self._record = record
        self._back = page.address("change", quote(record.pk))

    def respond(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        try:
            reach.require_answer()
            message = repair.original(self._record.pk)
        except (DecodeError, BrokerError) as error:
            tell_of_trouble(request, error)
            return HttpResponseRedirect(self._back)
        if message is None:
            messages.warning(request, _("The broker does not have this message any more."))
            return HttpResponseRedirect(self._back)
        return self._form(request, message)

    def _form(self, request: HttpRequest, message: Message[Any]) -> HttpResponse:
        try:
            initial = _initial(message)
        except (TypeError, ValueError, RecursionError) as error:
            tell_of_trouble(request, error)
            return HttpResponseRedirect(self._back)
        if request.method != "POST":
            return self._ask(request, message, CopyForm(initial=initial))
        form = CopyForm(request.POST)
        if form.is_valid():
            try:
                copy = self._send(request, form.cleaned_data)
            except (TypeError, ValueError) as error:  # what cannot be encoded, and what no key can be made of
                form.refuse(error)
            except BrokerError as error:
                tell_of_trouble(request, error)
                return HttpResponseRedirect(self._back)
            else:
                messages.success(request, _("An edited copy was sent: %(id)s") % {"id": copy.message_id})
                return HttpResponseRedirect(self._back)
        return self._ask(request, message, form)

    def _send(self, request: HttpRequest, arguments: dict[str, Any]) -> Message[Any]:
        with audit.logged_together():
            copy = repair.requeue_edited(self._record.pk, arguments["args"], arguments["kwargs"])
            text = _("Requeued as an edited copy: %(id)s") % {"id": copy.message_id}
            audit.log_messages(request, [self._record.pk], text)
        return copy

    def _ask(self, request: HttpRequest, message: Message[Any], form: CopyForm) -> HttpResponse:
        return self._page.render(
            request,
            "edited_copy.html",
            title=_("Requeue an edited copy"),
            record=self._record,
            form=form,
            signature=_signature(message.actor_name),
            back=self._back,
        )


def _initial(message: Message[Any]) -> dict[str, str]:
    return {"args": _editable(list(message.args)), "kwargs": _editable(message.kwargs)}


def _editable(value: Any) -> str:
    """JSON to edit. TypeError for what only another encoder can carry: editing would change its type unseen."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if json.loads(text) != value:
        raise TypeError("JSON would change these arguments: it has no tuples, and no keys but texts.")
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, which no page can show
        return json.dumps(value, indent=2)
    return text


def _signature(actor_name: str) -> str:
    """What the actor takes, where this process knows it."""
    actor = get_broker().actors.get(actor_name)
    if actor is None:
        return ""
    try:
        return f"{actor_name}{inspect.signature(actor.fn, eval_str=True)}"
    except Exception:  # an annotation that only type checkers can read is any expression
        return f"{actor_name}{inspect.signature(actor.fn)}"

"""The form of a new revocation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import stamps
from ..rules import Conditions
from . import presentation

EXPIRIES: dict[str, timedelta | None] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
    "never": None,
}


class RevocationForm(forms.Form):
    """Which messages, and how. ``conditions`` is what it says, once it is valid."""

    ids = forms.CharField(
        label=gettext_lazy("Message ids"),
        help_text=gettext_lazy("One in each line."),
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
    )
    stamp = forms.CharField(
        label=gettext_lazy("Stamps"),
        help_text=gettext_lazy("name=value, one in each line; also what is sent later, until it expires or is lifted."),
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        strip=False,
    )
    actor = forms.CharField(label=gettext_lazy("Actor"), required=False)
    queue = forms.CharField(label=gettext_lazy("Queue"), required=False)
    future = forms.BooleanField(
        label=gettext_lazy("Also what is sent later, by actor or queue"),
        required=False,
    )
    match = forms.ChoiceField(
        label=gettext_lazy("Where several of these are given"),
        choices=[
            ("", gettext_lazy("only one is given")),
            ("all", gettext_lazy("messages that fulfil each of them")),
            ("any", gettext_lazy("messages that fulfil one of them")),
        ],
        required=False,
    )
    terminate = forms.BooleanField(
        label=gettext_lazy("Terminate what runs"),
        help_text=gettext_lazy("It is interrupted, and if that does not end it, its process is ended."),
        required=False,
    )
    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=500, required=False)
    expires = forms.ChoiceField(
        label=gettext_lazy("Expires"),
        choices=[
            ("hour", gettext_lazy("in an hour")),
            ("day", gettext_lazy("in a day")),
            ("week", gettext_lazy("in a week")),
            ("month", gettext_lazy("in 30 days")),
            ("never", gettext_lazy("never")),
        ],
        initial="week",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.conditions = Conditions()
        for name in ("actor", "queue"):
            self.fields[name].widget.attrs["list"] = f"dtq-{name}s"
        for name in ("ids", "stamp"):
            self.fields[name].widget.attrs.update({"class": "dtq-json", "spellcheck": "false"})

    def clean_ids(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["ids"].splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def clean_stamp(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in self.cleaned_data["stamp"].splitlines():
            if line.strip():
                try:
                    name, value = stamps.pair(line)
                except ValueError as error:
                    raise forms.ValidationError(presentation.text(str(error))) from None
                found.setdefault(name, []).append(value)
        return found

    def clean(self) -> dict[str, Any]:
        """ValueErrors of the conditions are about several fields, and stand on top."""
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        if not any(given[name] for name in ("ids", "stamp", "actor", "queue")):
            raise forms.ValidationError(_("Say which messages: by id, stamp, actor or queue."))
        try:
            self.conditions = Conditions.of(
                given["ids"], given["stamp"], given["actor"], given["queue"], given["match"] or None, given["future"]
            )
        except ValueError as error:
            raise forms.ValidationError(presentation.text(str(error))) from None
        return given

    def as_arguments(self) -> dict[str, Any]:
        """What :func:`django_tasks_q.control.revoke` is told."""
        given = self.cleaned_data
        named = {name: given[name] for name in ("ids", "actor", "queue", "future", "terminate", "reason")}
        return {
            **named,
            "stamps": given["stamp"],
            "match": given["match"] or None,
            "expires": EXPIRIES[given["expires"]],
        }

    def as_hidden(self) -> list[tuple[str, str]]:
        """What was typed, to be sent again with the yes."""
        return [(name, str(self.data[name])) for name in self.fields if name in self.data]

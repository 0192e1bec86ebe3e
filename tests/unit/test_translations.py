"""What people read can be translated, and the German of it is whole."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.utils import translation
from django.utils.functional import Promise

import django_tasks_q
from django_tasks_q.models import (
    STATE_LABELS,
    ControlVersion,
    GatheredItem,
    QueuedMessage,
    QueueWorker,
    RateLimitAdmissions,
    RateLimitArrival,
    RateLimitGathering,
    ServiceLease,
    UniqueHolder,
)
from django_tasks_q.states import State

PACKAGE = Path(django_tasks_q.__file__).parent
CATALOGUE = PACKAGE / "locale" / "de" / "LC_MESSAGES" / "django"
OF_THE_ENGINE = (
    ControlVersion,
    GatheredItem,
    QueuedMessage,
    QueueWorker,
    RateLimitAdmissions,
    RateLimitArrival,
    RateLimitGathering,
    ServiceLease,
    UniqueHolder,
)
"""Rows that nobody is shown."""

GETTEXT = re.compile(r"^_$|^n?p?n?gettext(_lazy|_noop)?$")


def shown_models() -> list[type[models.Model]]:
    return [model for model in apps.get_app_config("django_tasks_q").get_models() if model not in OF_THE_ENGINE]


def labels() -> Iterator[tuple[str, Any]]:
    for model in shown_models():
        options = model._meta
        yield f"{model.__name__} verbose_name", options.verbose_name
        yield f"{model.__name__} verbose_name_plural", options.verbose_name_plural
        for name, text in options.permissions:
            yield name, text
        for field in options.local_fields:
            if isinstance(field, models.BigAutoField) or options.proxy:
                continue
            yield f"{model.__name__}.{field.name}", field.verbose_name
            for value, text in field.choices or ():
                yield f"{model.__name__}.{field.name} {value}", text


def catalogue() -> dict[Any, str]:
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        texts: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return texts


@pytest.mark.parametrize(("name", "text"), list(labels()))
def test_each_label_of_a_model_is_marked_and_translated(name: str, text: Any) -> None:
    assert isinstance(text, Promise), f"{name} is not marked with gettext_lazy"
    with translation.override(None):
        assert catalogue().get(str(text))


def test_labels_are_shown_in_the_language_of_who_reads_them() -> None:
    with translation.override("de"):
        assert str(STATE_LABELS[State.DEAD]) == "gescheitert"
        assert str(apps.get_app_config("django_tasks_q").verbose_name) == "Hintergrundaufgaben"


def test_every_state_has_a_label() -> None:
    assert list(STATE_LABELS) == list(State)
    with translation.override("en"):
        assert all(str(label) == state.value for state, label in STATE_LABELS.items())


def test_every_label_can_be_found_by_makemessages() -> None:
    hidden = []
    for path in (PACKAGE / "models.py", PACKAGE / "apps.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            marks = isinstance(call.func, ast.Name) and GETTEXT.match(call.func.id)
            if marks and not isinstance(call.args[0], ast.Constant):
                hidden.append(f"{path.name}:{call.lineno}: {ast.unparse(call)}")

    assert hidden == []


def entries() -> list[str]:
    header, *rest = CATALOGUE.with_suffix(".po").read_text().strip().split("\n\n")
    assert '"Language: de\\n"' in header
    return rest


def test_nothing_in_the_catalogue_is_left_untranslated_or_guessed() -> None:
    untranslated = [entry for entry in entries() if re.search(r'^msgstr(\[\d\])? ""\n?(?!")', entry + "\n", re.M)]

    assert untranslated == []
    assert not [entry for entry in entries() if "fuzzy" in entry or entry.startswith("#~")]


def test_the_compiled_catalogue_says_what_the_source_says() -> None:
    def joined(entry: str, word: str) -> str | None:
        found = re.search(rf'^{re.escape(word)} ((?:".*"\n?)+)', entry, re.M)
        return "".join(ast.literal_eval(line) for line in found[1].splitlines()) if found else None

    source: dict[Any, str | None] = {}
    for entry in entries():
        msgid = joined(entry, "msgid")
        if joined(entry, "msgid_plural") is None:
            source[msgid] = joined(entry, "msgstr")
        else:
            source |= {(msgid, number): joined(entry, f"msgstr[{number}]") for number in (0, 1)}

    assert {key: text for key, text in catalogue().items() if key != ""} == source

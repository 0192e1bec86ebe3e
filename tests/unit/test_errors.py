"""One shallow tree of errors that explain themselves."""

from __future__ import annotations

import inspect
import pickle

import pytest

from django_tasks_q import errors
from django_tasks_q.errors import DjangoTasksQError, did_you_mean

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]
OURS = [item for item in CLASSES if issubclass(item, DjangoTasksQError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_what_it_means(kind: type[BaseException]) -> None:
    assert kind.__doc__


@pytest.mark.parametrize("kind", [kind for kind in OURS if kind is not errors.Retry])
def test_the_docstring_is_the_message_when_none_is_given(kind: type[DjangoTasksQError]) -> None:
    assert str(kind()) == kind().message == (kind.__doc__ or "").strip().split("\n")[0]
    assert str(kind("other words")) == "other words"


@pytest.mark.parametrize("kind", OURS)
def test_errors_can_be_pickled(kind: type[DjangoTasksQError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("words")))

    assert (type(copy), str(copy)) == (kind, "words")


def test_an_interrupt_passes_an_except_exception_and_explains_itself() -> None:
    assert not issubclass(errors.TimeLimitExceeded, Exception)
    assert str(errors.TimeLimitExceeded()) == "The actor ran longer than its time limit."
    assert str(errors.Shutdown("words")) == "words"


def test_dramatiqs_name_for_the_base_is_kept() -> None:
    assert errors.DramatiqError is DjangoTasksQError


def test_a_typo_gets_a_hint_and_nonsense_gets_none() -> None:
    assert did_you_mean("max_retrys", ["max_retries", "time_limit"]) == " Did you mean 'max_retries'?"
    assert did_you_mean("xyz", ["max_retries"]) == ""

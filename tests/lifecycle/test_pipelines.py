"""A pipeline through real workers."""

from __future__ import annotations

import pytest

from django_tasks_q.errors import BadArguments
from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Faults, Ledger, check
from tests.support.runworkers import Trees
from tests.support.stores import Store

pytestmark = pytest.mark.lifecycle


@BOTH
def test_a_later_step_gets_the_result_it_was_built_without(store: Store, trees: Trees, ledger: Ledger) -> None:
    steps = misbehave.echo.message("hello") | misbehave.echo.message() | misbehave.echo.message()
    [first] = store.send(steps.messages[:1])
    trees.finish()
    assert ledger.completed() == {message.message_id for message in steps.messages}
    assert set(store.states().values()) == {"succeeded"}
    check(ledger, [first], store, Faults(0))


def test_only_what_is_sent_must_be_complete() -> None:
    with pytest.raises(BadArguments):
        misbehave.echo.send()
    with pytest.raises(BadArguments):
        misbehave.echo.send_with_options()
    with pytest.raises(BadArguments):
        misbehave.echo.message(1, 2)

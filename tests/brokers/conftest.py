"""The bench of the conformance suite, and the comparison of each sentence with the model."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest
from django.db import connections

from django_tasks_q.brokers.stub import StubBroker
from tests.brokers.bench import Bench, Story
from tests.support.brokers import open_broker


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A bench with the broker that the test's class names, as ``open_broker`` knows it."""
    kind = request.cls.broker
    if kind in connections.settings:
        request.getfixturevalue("databases")
    with open_broker(kind) as broker:
        bench = Bench(broker)
        yield bench
        bench.close()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A sentence that held for another broker is told to the model, and both must have told the same story."""
    result = yield
    bench = pyfuncitem.funcargs.get("bench")
    if isinstance(bench, Bench) and bench.is_like_the_model and not pyfuncitem.get_closest_marker("beyond_the_model"):
        told, modelled = bench.stories(), _as_the_model_tells_it(pyfuncitem)
        if bench.broker.capabilities.delivery_numbers.level != "same":
            told, modelled = _without_numbers(told), _without_numbers(modelled)
        assert told == modelled
    return result


def _without_numbers(stories: dict[str, Story]) -> dict[str, Story]:
    """Stories told without counting deliveries."""
    return {
        name: story._replace(deliveries=0, attempts=tuple((0, *attempt[1:]) for attempt in story.attempts))
        for name, story in stories.items()
    }


def _as_the_model_tells_it(item: pytest.Function) -> Any:
    model = Bench(StubBroker())
    names = item._fixtureinfo.argnames
    try:
        item.obj(**{name: model if name == "bench" else item.funcargs[name] for name in names})
        return model.stories()
    finally:
        model.close()

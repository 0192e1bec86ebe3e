"""Actors that are classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from django_tasks_q import Actor, GenericActor, Worker, actor, get_broker, set_broker
from django_tasks_q.brokers.stub import StubBroker


@pytest.fixture(autouse=True)
def declared_on_the_stub(stub: StubBroker) -> Iterator[None]:
    before = get_broker()
    set_broker(stub)
    yield
    set_broker(before)


def test_the_class_statement_gives_an_actor(stub: StubBroker) -> None:
    class Greet(GenericActor):
        def perform(self, name: str) -> str:
            return f"Hello {name}"

    assert stub.actors["Greet"].actor_name == Greet.actor_name == "Greet"
    assert Greet("you") == "Hello you"
    assert Greet.message("you").actor_name == "Greet"
    assert str(Greet) == "Actor(Greet)"


def test_a_worker_performs_its_messages(stub: StubBroker, work: Callable[..., AbstractContextManager[Worker]]) -> None:
    done: list[str] = []

    class Note(GenericActor):
        class Meta:
            queue_name = "notes"

        def perform(self, text: str) -> None:
            done.append(text)

    Note.send("a")
    Note.send_with_options(args=("b",))
    with work(stub):
        stub.join("notes", timeout=5_000)

    assert sorted(done) == ["a", "b"]


def test_options_are_inherited_one_by_one_and_abstract_is_not(stub: StubBroker) -> None:
    class Base(GenericActor):
        class Meta:
            abstract = True
            queue_name = "tasks"
            max_retries = 3

        def perform(self) -> str:
            return self.word()

        def word(self) -> str:
            raise NotImplementedError

    class One(Base):
        def word(self) -> str:
            return "one"

    class Two(Base):
        class Meta(Base.Meta):
            max_retries = 5
            actor_name = "number_two"

        def word(self) -> str:
            return "two"

    assert sorted(stub.actors) == ["One", "number_two"]
    assert (One(), Two()) == ("one", "two")
    assert (One.queue_name, One.options["max_retries"]) == ("tasks", 3)
    assert (Two.queue_name, Two.options["max_retries"]) == ("tasks", 5)


def test_an_abstract_class_is_a_class(stub: StubBroker) -> None:
    class Base(GenericActor):
        class Meta:
            abstract = True

    assert isinstance(Base, type)
    assert stub.actors == {}
    with pytest.raises(AttributeError, match="Base is abstract"):
        _ = Base.send


def test_another_decorator_may_declare_it(stub: StubBroker) -> None:
    class Special(Actor[Any, Any]):
        pass

    def special(**options: Any) -> Any:
        return actor(actor_class=Special, **options)

    class Task(GenericActor):
        class Meta:
            actor = special

        def perform(self) -> None: ...

    assert type(stub.actors["Task"]) is Special


def test_it_may_be_the_callback_of_another(stub: StubBroker) -> None:
    class After(GenericActor):
        def perform(self, message: Any, result: Any) -> None: ...

    @actor(on_success=After)
    def first() -> None: ...

    assert first.options["on_success"] == "After"
    assert first.message_with_options(on_failure=After).options["on_failure"] == "After"


def test_a_wrong_option_is_refused_where_the_class_is(stub: StubBroker) -> None:
    with pytest.raises(ValueError, match=r"Wrong: an actor has no option 'max_retrys'.*max_retries"):

        class Wrong(GenericActor):
            class Meta:
                max_retrys = 1


def test_a_call_that_does_not_fit_perform_is_refused_at_send(stub: StubBroker) -> None:
    class Add(GenericActor):
        def perform(self, x: int, y: int) -> int:
            return x + y

    with pytest.raises(TypeError):
        Add.send(1)

"""What a revocation leaves as it is, on every broker: dead letters, and what runs and ends well."""

from __future__ import annotations

import pytest

from django_tasks_q import MessageRevoked, actor, revoke
from tests.control.test_revoke import Scene, scene
from tests.support.waiting import until

__all__ = ["scene"]


def test_a_dead_letter_stays_one_and_ends_revoked_when_it_is_requeued(scene: Scene) -> None:
    fail = scene.declare(lambda: scene.tries.append(1) or 1 / 0, "fail")
    with scene.working():
        message = fail.send_with_options(stamps={"a": 1})
        until(lambda: _state(scene, message.message_id) == "dead", 20)
        scene.has_states(dead=1)

        assert revoke(stamps={"a": 1}).counts == {}

        assert _state(scene, message.message_id) == "dead"
        scene.broker.requeue([message.message_id])
        until(lambda: _state(scene, message.message_id) == "", 20)
        scene.has_states(revoked=1)
        assert scene.tries == [1]


def test_who_catches_the_interruption_and_returns_has_succeeded(scene: Scene) -> None:
    @actor(broker=scene.broker, max_retries=0)
    def careful() -> None:
        scene.ran.append("began")
        try:
            while not scene.let_go.wait(0.005):
                pass
            pytest.fail("nobody interrupted it")
        except MessageRevoked:
            scene.ended.append("tidied up")

    with scene.working():
        message = careful.send_with_options(stamps={"a": 1})
        scene.has_states(running=1)
        until(lambda: scene.ran == ["began"], 20)

        revoke(stamps={"a": 1}, terminate=True)

        until(lambda: scene.ended == ["tidied up"], 20)
        until(lambda: _state(scene, message.message_id) == "", 20)
        scene.has_states(succeeded=1)


def _state(scene: Scene, message_id: str) -> str:
    """Where the broker holds it; empty when it does not."""
    held = scene.broker.look_up([message_id]).get(message_id)
    return "" if held is None else held.state

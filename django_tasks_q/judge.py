"""What becomes of messages whose worker died while it ran them."""

from __future__ import annotations

from .broker import Broker
from .changes import casualty_error
from .deliveries import Casualty, Delivery, Judge, MessageProxy
from .errors import DecodeError, TimeLimitExceeded
from .message import Message
from .middleware import Retries
from .outcomes import HANDED_BACK, REVOKED, UNDECODABLE, Outcome, RetryPolicy, decide, decide_lost
from .results.middleware import failure_of
from .results.post import ResultPost


def make_judge(broker: Broker) -> Judge:
    """A judge that knows the actors of ``broker``. It reads their options and runs none of their code."""
    retries = next((item for item in broker.middleware if isinstance(item, Retries)), None)
    post = ResultPost(broker)

    def judge(delivery: Delivery, casualty: Casualty) -> Outcome:
        if casualty.kind == "interrupted":
            return HANDED_BACK
        message: Message[object] | None
        try:
            message = Message.decode(delivery.payload)
        except DecodeError:
            message = None
        if casualty.kind == "revoked":
            outcome: Outcome = REVOKED
        else:
            outcome = UNDECODABLE if message is None else find(message, delivery, casualty)
        told = failure_of(broker, delivery.message_id, outcome, casualty_error(casualty), message)
        if told is not None:
            post.leave([told])
        return outcome

    def find(message: Message[object], delivery: Delivery, casualty: Casualty) -> Outcome:
        if casualty.kind == "time_limit":
            return decide(TimeLimitExceeded(), delivery.retries, _policy(broker, message, retries))
        return decide_lost(delivery.lost, _delivery_limit(broker, message), alone=casualty.alone)

    return judge


def _policy(broker: Broker, message: Message[object], retries: Retries | None) -> RetryPolicy:
    """The message's policy without ``retry_when``, which is people's code and could kill whoever asks it."""
    if retries is None:
        return RetryPolicy(max_retries=0)
    try:
        policy = retries.policy(broker, MessageProxy(message))
    except (TypeError, ValueError, OverflowError):
        # Options that mean nothing must not keep a worker from being buried. They would fail after a run as well.
        return RetryPolicy(max_retries=0)
    limit = policy.max_retries if type(policy.max_retries) in (int, type(None)) else 0
    return RetryPolicy(limit, policy.min_backoff, policy.max_backoff)


def _delivery_limit(broker: Broker, message: Message[object]) -> int:
    actor = broker.actors.get(message.actor_name)
    default = broker.delivery_limit if actor is None else actor.options.get("delivery_limit", broker.delivery_limit)
    limit = message.options.get("delivery_limit", default)
    return limit if isinstance(limit, int) and limit >= 2 else broker.delivery_limit

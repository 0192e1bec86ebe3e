"""What the shop's authors rely on in the library itself."""

import time
from datetime import datetime
from decimal import Decimal

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ActorNotFound, DecodeError, QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import Middleware, Retries, SkipMessage, TimeLimit
from dramatiq.rate_limits import Barrier, ConcurrentRateLimiter
from dramatiq.rate_limits.backends import StubBackend
from shop.encoding import DecimalEncoder


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_decorator_declares_on_the_global_broker(own_broker):
    @dramatiq.actor
    def bare():
        pass

    assert dramatiq.get_broker() is own_broker
    assert own_broker.get_actor("bare") is bare
    assert (bare.queue_name, bare.priority, bare.options) == ("default", 0, {})
    assert own_broker.get_declared_actors() == {"bare"}
    assert "default" in own_broker.get_declared_queues()
    assert str(bare) == "Actor(bare)"


def test_an_actor_of_another_broker():
    other = StubBroker()

    @dramatiq.actor(broker=other, queue_name="other")
    def elsewhere():
        pass

    assert elsewhere.broker is other
    assert elsewhere.send().queue_name == "other"
    assert other.queues["other"].qsize() == 1


def test_what_the_decorator_refuses(own_broker):
    @dramatiq.actor
    def twice():
        pass

    with pytest.raises(ValueError):
        dramatiq.actor(twice.fn)
    with pytest.raises(ValueError):
        dramatiq.actor(lambda: None, actor_name="named", queue_name="no spaces")
    with pytest.raises(ValueError, match="unheard_of"):
        dramatiq.actor(lambda: None, actor_name="named", unheard_of=1)


def test_actors_may_have_their_own_class(own_broker):
    class Shouting(dramatiq.Actor):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs).upper()

    @dramatiq.actor(actor_class=Shouting)
    def greet(name):
        return f"hello {name}"

    assert isinstance(greet, Shouting)
    assert greet("ann") == "HELLO ANN"
    assert greet.fn("ann") == "hello ann"


def test_actors_and_queues_can_be_declared_by_hand(own_broker):
    own_broker.declare_queue("by-hand")
    actor = dramatiq.Actor(
        lambda: None,
        broker=own_broker,
        actor_name="by_hand",
        queue_name="by-hand",
        priority=3,
        options={"max_retries": 0},
    )
    own_broker.declare_actor(actor)

    assert own_broker.get_actor("by_hand") is actor
    assert "by-hand" in own_broker.get_declared_queues()


def test_unknown_actors_and_queues(own_broker):
    message = dramatiq.Message(queue_name="nowhere", actor_name="nobody", args=(), kwargs={}, options={})

    with pytest.raises(ActorNotFound):
        own_broker.get_actor("nobody")
    with pytest.raises(QueueNotFound):
        own_broker.enqueue(message)
    with pytest.raises(QueueNotFound):
        own_broker.join("nowhere")


def test_join_gives_up_after_its_timeout(own_broker):
    @dramatiq.actor
    def waiting():
        pass

    waiting.send()

    with pytest.raises(QueueJoinTimeout):
        own_broker.join("default", timeout=100)


def test_messages_are_values(own_broker):
    @dramatiq.actor
    def work(*args, **kwargs):
        pass

    message = work.message(1, two=2)
    assert (message.args, message.kwargs, message.options) == ((1,), {"two": 2}, {})
    assert str(message) == "work(1, two=2)"
    assert message.asdict()["message_id"] == message.message_id
    assert dramatiq.Message.decode(message.encode()) == message

    copy = message.copy(args=(3,), options={"max_retries": 1})
    assert copy.message_id == message.message_id
    assert (copy.args, copy.options) == ((3,), {"max_retries": 1})
    assert copy.copy(options={"max_age": 5}).options == {"max_retries": 1, "max_age": 5}
    assert message.args == (1,)

    options = work.message_with_options(args=(1,), on_success=work, custom="yes").options
    assert options == {"on_success": "work", "custom": "yes"}
    with pytest.raises(TypeError):
        work.message_with_options(on_failure=42)
    assert own_broker.queues["default"].empty()


def test_encoders_round_trip(encoder, own_broker):
    @dramatiq.actor
    def work(value):
        pass

    value = {"list": [1, "two", None]}
    if isinstance(encoder, dramatiq.PickleEncoder):
        value["when"] = datetime(2020, 1, 1)
    message = work.message(value)

    assert encoder.decode(encoder.encode({"a": 1})) == {"a": 1}
    assert dramatiq.Message.decode(message.encode()) == message


def test_an_encoder_of_ones_own(own_broker, own_worker):
    received = []
    buy = dramatiq.actor(received.append, actor_name="buy")
    previous = dramatiq.get_encoder()
    dramatiq.set_encoder(DecimalEncoder())
    try:
        own_worker.start()
        buy.send(Decimal("9.90"))
        own_broker.join("default", timeout=5000, fail_fast=True)
    finally:
        dramatiq.set_encoder(previous)

    assert received == [Decimal("9.90")]


def test_what_cannot_be_decoded():
    with pytest.raises(DecodeError):
        dramatiq.Message.decode(b"not a message")


class Recorder(Middleware):
    def __init__(self):
        self.calls = []

    @property
    def actor_options(self):
        return {"color"}

    def after_declare_actor(self, broker, actor):
        self.calls.append(("declare", actor.actor_name))

    def before_enqueue(self, broker, message, delay):
        self.calls.append(("enqueue", delay))

    def before_process_message(self, broker, message):
        color = broker.get_actor(message.actor_name).options["color"]
        self.calls.append(("process", color))
        if message.options.get("skip"):
            raise SkipMessage("as asked")

    def after_process_message(self, broker, message, *, result=None, exception=None):
        self.calls.append(("processed", result, exception))

    def after_skip_message(self, broker, message):
        self.calls.append(("skipped",))

    def after_ack(self, broker, message):
        self.calls.append(("ack",))

    def after_nack(self, broker, message):
        self.calls.append(("nack", message.failed))


def test_middleware_sees_a_message_through(own_broker, own_worker):
    recorder = Recorder()
    own_broker.add_middleware(recorder, before=Retries)

    @dramatiq.actor(color="red", max_retries=0)
    def paint(fails=False):
        if fails:
            raise error

    error = ValueError("no paint")
    own_worker.start()
    for args, options in (((), {}), ((True,), {}), ((), {"skip": True})):
        paint.send_with_options(args=args, **options)
        own_broker.join("default", timeout=5000, fail_fast=False)
        own_worker.join()

    assert recorder.calls == [
        ("declare", "paint"),
        ("enqueue", None),
        ("process", "red"),
        ("processed", None, None),
        ("ack",),
        ("enqueue", None),
        ("process", "red"),
        ("processed", None, error),
        ("nack", True),
        ("enqueue", None),
        ("process", "red"),
        ("skipped",),
        ("ack",),
    ]


class RetryByHand(Middleware):
    """Sends what failed once more, as one does without Retries."""

    def after_process_message(self, broker, message, *, result=None, exception=None):
        tries = message.options.get("tries", 1)
        if exception is None:
            return
        if tries == 3:
            message.fail()
        else:
            message.options["tries"] = tries + 1
            broker.enqueue(message, delay=20)


def test_middleware_may_retry_by_itself():
    broker = StubBroker(middleware=[RetryByHand()])
    tries = []

    @dramatiq.actor(broker=broker)
    def stumble():
        tries.append(1)
        raise ValueError("again")

    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    stumble.send()
    broker.join("default", timeout=5000, fail_fast=False)
    worker.stop()

    assert len(tries) == 3
    assert [message.actor_name for message in broker.dead_letters] == ["stumble"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [("before", [(False, 1), (False, 2), (True, 3)]), ("after", [(False, None), (False, 1), (False, 2)])],
)
def test_what_middleware_sees_of_retries_depends_on_its_place(own_broker, own_worker, place, expected):
    seen = []

    class Watch(Middleware):
        def after_process_message(self, broker, message, *, result=None, exception=None):
            seen.append((message.failed, message.options.get("retries")))

    own_broker.add_middleware(Watch(), **{place: Retries})

    @dramatiq.actor(max_retries=2, min_backoff=10, max_backoff=20)
    def stumble():
        raise ValueError("again")

    own_worker.start()
    stumble.send()
    own_broker.join("default", timeout=5000, fail_fast=False)
    own_worker.join()

    assert seen == expected


def test_middleware_is_placed_among_the_others(own_broker):
    recorder = Recorder()
    own_broker.add_middleware(recorder, after=TimeLimit)

    kinds = [type(middleware) for middleware in own_broker.middleware]
    assert kinds.index(Recorder) == kinds.index(TimeLimit) + 1
    with pytest.raises(ValueError):
        own_broker.add_middleware(Recorder(), before=int)


def test_loggers_are_named_by_module_and_class():
    assert dramatiq.get_logger("shop").name == "shop"
    assert dramatiq.get_logger("shop", Recorder).name == "shop.Recorder"


def test_a_limiter_with_room_for_two():
    limiter = ConcurrentRateLimiter(StubBackend(), "two", limit=2)

    with limiter.acquire(), limiter.acquire(), pytest.raises(dramatiq.RateLimitExceeded), limiter.acquire():
        pass
    with limiter.acquire(raise_on_failure=False) as acquired:
        assert acquired


def test_a_barrier_is_created_once_and_lets_the_last_through():
    barrier = Barrier(StubBackend(), "all", ttl=10_000)

    assert barrier.create(parties=2)
    assert not barrier.create(parties=2)
    assert not barrier.wait(block=False)
    assert barrier.wait(block=False)

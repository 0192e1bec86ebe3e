"""An application that was written for Dramatiq imports what it did, from the modules it did."""

from __future__ import annotations

import importlib

import pytest

from tests.unit.test_status import planned

IMPORTED = {
    "": """actor Actor GenericActor Message get_encoder set_encoder Broker Consumer MessageProxy get_broker set_broker
        pipeline group Encoder JSONEncoder PickleEncoder Middleware Worker ConsumerThread WorkerThread get_logger
        DramatiqError BrokerError DecodeError ActorNotFound QueueNotFound QueueJoinTimeout BrokerConnectionError
        ConnectionClosed ConnectionFailed RateLimitExceeded Retry __version__""",
    "actor": "Actor actor",
    "asyncio": "EventLoopThread async_to_sync get_event_loop_thread set_event_loop_thread",
    "broker": "Broker Consumer MessageProxy get_broker set_broker",
    "brokers.rabbitmq": "RabbitmqBroker",
    "brokers.redis": "RedisBroker",
    "brokers.stub": "StubBroker",
    "common": "compute_backoff current_millis dq_name getenv_int iter_queue join_all join_queue q_name xq_name",
    "composition": "pipeline group",
    "encoder": "Encoder JSONEncoder PickleEncoder",
    "errors": """DramatiqError BrokerError DecodeError ActorNotFound QueueNotFound QueueJoinTimeout RateLimitExceeded
        BrokerConnectionError ConnectionClosed ConnectionFailed Retry""",
    "generic": "GenericActor generic_actor",
    "logging": "get_logger",
    "message": "Message get_encoder set_encoder generate_unique_id",
    "middleware": """AgeLimit AsyncIO Callbacks CurrentMessage GroupCallbacks Interrupt Middleware MiddlewareError
        Pipelines Retries Shutdown ShutdownNotifications SkipMessage TimeLimit TimeLimitExceeded default_middleware
        raise_thread_exception""",
    "middleware.age_limit": "AgeLimit",
    "middleware.asyncio": "AsyncIO",
    "middleware.callbacks": "Callbacks",
    "middleware.current_message": "CurrentMessage",
    "middleware.group_callbacks": "GroupCallbacks",
    "middleware.middleware": "Middleware MiddlewareError SkipMessage",
    "middleware.pipelines": "Pipelines",
    "middleware.prometheus": "Prometheus",
    "middleware.retries": "Retries",
    "middleware.shutdown": "Shutdown ShutdownNotifications",
    "middleware.threading": "Interrupt raise_thread_exception",
    "middleware.time_limit": "TimeLimit TimeLimitExceeded",
    "rate_limits": """Barrier BucketRateLimiter ConcurrentRateLimiter RateLimitExceeded RateLimiter RateLimiterBackend
        WindowRateLimiter""",
    "rate_limits.backend": "RateLimiterBackend",
    "rate_limits.barrier": "Barrier",
    "rate_limits.bucket": "BucketRateLimiter",
    "rate_limits.concurrent": "ConcurrentRateLimiter",
    "rate_limits.rate_limiter": "RateLimiter",
    "rate_limits.window": "WindowRateLimiter",
    "rate_limits.backends": "RedisBackend StubBackend",
    "rate_limits.backends.redis": "RedisBackend",
    "rate_limits.backends.stub": "StubBackend",
    "results": "Missing ResultBackend ResultError ResultFailure ResultMissing ResultTimeout Results",
    "results.backend": "Missing ResultBackend",
    "results.backends": "RedisBackend StubBackend",
    "results.backends.redis": "RedisBackend",
    "results.backends.stub": "StubBackend",
    "results.errors": "ResultError ResultFailure ResultMissing ResultTimeout",
    "results.middleware": "Results",
    "results.result": "Missing",
    "threading": "Interrupt current_platform is_gevent_active raise_thread_exception supported_platforms",
    "worker": "ConsumerThread Worker WorkerThread",
}

OURS = {
    "": """get_current_message get_message_id get_retry_count get_max_retries get_queue_name set_progress send_many
        stamping revoke revoke_by_stamped_headers lift pause_queue resume_queue""",
    "brokers.database": "DatabaseBroker",
    "rate_limits.backends": "DatabaseBackend",
    "rate_limits.backends.database": "DatabaseBackend",
    "results.backends": "DatabaseBackend",
    "results.backends.database": "DatabaseBackend",
}
"""What is imported in the same way, and Dramatiq has not."""


@pytest.mark.parametrize(("module", "names"), [*IMPORTED.items(), *OURS.items()])
def test_a_module_of_dramatiq_has_its_names_here_but_for_those_that_are_planned(module: str, names: str) -> None:
    path = ".".join(filter(None, ("django_tasks_q", module)))
    later = {name.rpartition(".")[2] for name in planned("import")}
    wanted = set(names.split()) - later

    if wanted:
        there = importlib.import_module(path)
        assert [name for name in wanted if not hasattr(there, name)] == []
    else:
        assert path in planned("module")


@pytest.mark.parametrize("module", ["django_tasks_q", "django_tasks_q.errors"])
def test_the_old_name_of_the_error_of_connections_works_and_warns(module: str) -> None:
    there = importlib.import_module(module)

    with pytest.warns(DeprecationWarning, match="BrokerConnectionError") as warned:
        assert there.ConnectionError is there.BrokerConnectionError

    assert warned[0].filename == __file__
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'ConectionError'"):
        _ = there.ConectionError

"""Every public name there is or will be, by kind. In docs/status.md a name may change its status, never vanish."""

NAMES: dict[str, list[str]] = {
    "import": """
        django_tasks_q.actor django_tasks_q.Actor django_tasks_q.Message django_tasks_q.get_encoder
        django_tasks_q.set_encoder django_tasks_q.Broker django_tasks_q.Consumer django_tasks_q.MessageProxy
        django_tasks_q.get_broker django_tasks_q.set_broker django_tasks_q.pipeline django_tasks_q.Encoder
        django_tasks_q.JSONEncoder django_tasks_q.PickleEncoder django_tasks_q.Middleware django_tasks_q.Worker
        django_tasks_q.ConsumerThread django_tasks_q.WorkerThread django_tasks_q.get_logger django_tasks_q.send_many
        django_tasks_q.get_current_message django_tasks_q.get_message_id django_tasks_q.get_retry_count
        django_tasks_q.get_max_retries django_tasks_q.get_queue_name django_tasks_q.ActorNotFound
        django_tasks_q.BadArguments django_tasks_q.BrokerConnectionError django_tasks_q.BrokerError
        django_tasks_q.BrokerNotReady django_tasks_q.ConnectionClosed django_tasks_q.ConnectionFailed
        django_tasks_q.DecodeError django_tasks_q.DjangoTasksQError django_tasks_q.DramatiqError
        django_tasks_q.DuplicateMessage django_tasks_q.EncodeError django_tasks_q.HardTimeLimit django_tasks_q.Interrupt
        django_tasks_q.LostWorker django_tasks_q.MessageTooLarge django_tasks_q.MiddlewareError
        django_tasks_q.NotADeadLetter django_tasks_q.ProcessesFailed django_tasks_q.QueueJoinTimeout
        django_tasks_q.QueueNotFound
        django_tasks_q.RateLimitExceeded django_tasks_q.ResultError django_tasks_q.ResultFailure
        django_tasks_q.ResultMissing django_tasks_q.ResultTimeout django_tasks_q.Retry
        django_tasks_q.Shutdown django_tasks_q.SkipMessage
        django_tasks_q.TimeLimitExceeded django_tasks_q.UnsupportedVersion django_tasks_q.GenericActor
        django_tasks_q.group django_tasks_q.PartialSendError django_tasks_q.QueueMismatch django_tasks_q.set_progress
        django_tasks_q.Progress django_tasks_q.Gather
        django_tasks_q.stamping
        django_tasks_q.revoke django_tasks_q.revoke_by_stamped_headers django_tasks_q.lift django_tasks_q.pause_queue
        django_tasks_q.resume_queue django_tasks_q.pause_actor django_tasks_q.resume_actor
        django_tasks_q.Revocation django_tasks_q.MessageRevoked django_tasks_q.brokers.stub.StubBroker
        django_tasks_q.brokers.database.DatabaseBroker django_tasks_q.brokers.redis.RedisBroker
        django_tasks_q.brokers.rabbitmq.RabbitmqBroker django_tasks_q.middleware.Middleware
        django_tasks_q.middleware.MiddlewareError django_tasks_q.middleware.SkipMessage
        django_tasks_q.middleware.AgeLimit django_tasks_q.middleware.TimeLimit
        django_tasks_q.middleware.TimeLimitExceeded django_tasks_q.middleware.Shutdown
        django_tasks_q.middleware.ShutdownNotifications django_tasks_q.middleware.Callbacks
        django_tasks_q.middleware.Pipelines django_tasks_q.middleware.Retries django_tasks_q.middleware.CurrentMessage
        django_tasks_q.middleware.Interrupt django_tasks_q.middleware.raise_thread_exception
        django_tasks_q.middleware.default_middleware django_tasks_q.middleware.GroupCallbacks
        django_tasks_q.middleware.AsyncIO django_tasks_q.middleware.prometheus.Prometheus
        django_tasks_q.rate_limits.RateLimiter django_tasks_q.rate_limits.RateLimitExceeded
        django_tasks_q.rate_limits.ConcurrentRateLimiter django_tasks_q.rate_limits.RateLimiterBackend
        django_tasks_q.rate_limits.backends.StubBackend django_tasks_q.rate_limits.backends.DatabaseBackend
        django_tasks_q.rate_limits.BucketRateLimiter django_tasks_q.rate_limits.WindowRateLimiter
        django_tasks_q.rate_limits.Barrier django_tasks_q.rate_limits.backends.RedisBackend
        django_tasks_q.results.Results django_tasks_q.results.ResultBackend django_tasks_q.results.Missing
        django_tasks_q.results.ResultError django_tasks_q.results.ResultFailure django_tasks_q.results.ResultMissing
        django_tasks_q.results.ResultTimeout django_tasks_q.results.backends.RedisBackend
        django_tasks_q.results.backends.StubBackend django_tasks_q.results.backends.DatabaseBackend
        django_tasks_q.logging.MessageFilter django_tasks_q.models.MessageRecord django_tasks_q.models.Attempt
        django_tasks_q.models.Stamp django_tasks_q.models.DeadLetter django_tasks_q.models.RateLimitMutex
        django_tasks_q.models.MessageResult
        django_tasks_q.models.WorkerProcess django_tasks_q.models.QueueState django_tasks_q.models.QueueSample
        django_tasks_q.models.Revocation django_tasks_q.models.ScheduleEntry django_tasks_q.models.ScheduleRun
        django_tasks_q.models.WaitingMessage django_tasks_q.models.GatheredItem
        django_tasks_q.models.QueuedMessage django_tasks_q.models.QueueWorker
        django_tasks_q.tasks_backend.TasksBackend django_tasks_q.middleware.database_connections.DatabaseConnections
        django_tasks_q.testing.drain django_tasks_q.testing.assert_sent django_tasks_q.encoder.TypedJSONEncoder
        django_tasks_q.testing.adrain django_tasks_q.testing.assert_not_sent django_tasks_q.testing.capture
        django_tasks_q.testing.immediate django_tasks_q.testing.on_commit django_tasks_q.testing.sent
        django_tasks_q.testing.task_worker django_tasks_q.capabilities.Capabilities
    """.split(),
    "module": """
        django_tasks_q.actor django_tasks_q.broker django_tasks_q.message django_tasks_q.composition
        django_tasks_q.encoder django_tasks_q.errors django_tasks_q.worker django_tasks_q.common
        django_tasks_q.threading django_tasks_q.logging django_tasks_q.middleware django_tasks_q.brokers.stub
        django_tasks_q.brokers.database django_tasks_q.generic django_tasks_q.asyncio django_tasks_q.results
        django_tasks_q.results.backends django_tasks_q.middleware.prometheus django_tasks_q.rate_limits
        django_tasks_q.rate_limits.backends django_tasks_q.brokers.redis django_tasks_q.brokers.rabbitmq
        django_tasks_q.tasks_backend django_tasks_q.testing
    """.split(),
    "option": """
        StubBroker(middleware=) StubBroker(fail_fast_default=) DatabaseBroker(using=) DatabaseBroker(middleware=)
        RedisBroker(url=) RedisBroker(client=) RedisBroker(middleware=) RedisBroker(namespace=)
        RedisBroker(heartbeat_timeout=) RedisBroker(dead_message_ttl=) RedisBroker(redis_kwargs=) RabbitmqBroker(url=)
        RabbitmqBroker(middleware=) RabbitmqBroker(max_priority=) RabbitmqBroker(confirm_delivery=)
        RabbitmqBroker(parameters=) RabbitmqBroker(namespace=) RabbitmqBroker(queue_type=) Worker(queues=)
        Worker(worker_timeout=) Worker(worker_threads=) @actor(actor_name=) @actor(queue_name=)
        @actor(priority=) @actor(broker=) @actor(max_retries=) @actor(min_backoff=) @actor(max_backoff=)
        @actor(retry_when=) @actor(throws=) @actor(on_retry_exhausted=) @actor(max_age=) @actor(time_limit=)
        @actor(notify_shutdown=) @actor(on_success=) @actor(on_failure=) @actor(pipe_ignore=)
        @actor(delivery_limit=) @actor(store_results=) @actor(result_ttl=) @actor(rate_limit=)
        @actor(rate_limit_key=) @actor(concurrency=) @actor(concurrency_key=) @actor(stamps=)
        @actor(inherit_stamps=) @actor(unique=)
        @actor(unique_key=) @actor(on_conflict=) @actor(schedule=) @actor(record=) @actor(gather=)
        send_with_options(args=)
        send_with_options(kwargs=) send_with_options(delay=) send_with_options(eta=)
        send_with_options(message_id=) send_with_options(priority=) send_with_options(max_retries=)
        send_with_options(min_backoff=) send_with_options(max_backoff=) send_with_options(on_retry_exhausted=)
        send_with_options(max_age=) send_with_options(time_limit=) send_with_options(notify_shutdown=)
        send_with_options(on_success=) send_with_options(on_failure=) send_with_options(pipe_ignore=)
        send_with_options(delivery_limit=) send_with_options(store_results=) send_with_options(result_ttl=)
        send_with_options(rate_limit=) send_with_options(concurrency=) send_with_options(stamps=)
        send_with_options(inherit_stamps=)
        send_with_options(stamped_headers=) send_with_options(unique=) send_with_options(on_conflict=)
        send_with_options(record=) Message(queue_name=) Message(actor_name=) Message(args=) Message(kwargs=)
        Message(options=) Message(message_id=) Message(message_timestamp=) send_on_commit_with_options(using=)
        send_many(on_commit=) pipeline.run(delay=) get_message_id(default=) get_retry_count(default=)
        get_max_retries(default=) get_queue_name(default=) get_current_message(default=) revoke(ids=)
        revoke(stamps=) revoke(actor=) revoke(queue=) revoke(match=) revoke(terminate=) revoke(reason=)
        revoke(expires=) revoke(dry_run=) revoke(future=) revoke(by=) revoke_by_stamped_headers(headers=)
        revoke_by_stamped_headers(terminate=) ConcurrentRateLimiter(backend=) ConcurrentRateLimiter(key=)
        ConcurrentRateLimiter(limit=) ConcurrentRateLimiter(ttl=) @actor(unique="until_started")
        @actor(unique="until_done") @actor(unique=ttl) @actor(on_conflict="drop") @actor(on_conflict="raise")
        @actor(on_conflict="replace") @actor(on_conflict="refresh")
    """.split(),
    "call": """
        Worker.start() Worker.pause() Worker.resume() Worker.stop() Worker.join() Actor.send() Actor.send_with_options()
        Actor.asend() Actor.asend_with_options() Actor.message() Actor.message_with_options() Actor.__call__()
        Actor.send_on_commit() Actor.send_on_commit_with_options() Actor.asend_on_commit()
        Actor.gather() Actor.gather_many() Actor.agather() Actor.agather_many() send_many() Broker.enqueue()
        Broker.enqueue_many() Message.__or__() Message.encode() Message.decode() pipeline.run() pipeline.get_result()
        pipeline.get_results() Message.get_result() Message.aget_result() Broker.get_results_backend()
        group.run() group.add_completion_callback() group.get_results()
        group.wait() pipeline.stamp() group.stamp() get_message_id() get_retry_count() get_max_retries()
        get_queue_name() get_current_message() stamping() revoke() revoke_by_stamped_headers() lift() pause_queue()
        resume_queue() pause_actor() resume_actor() set_progress() get_rate_limiter_backend() get_result_backend()
        ConcurrentRateLimiter.acquire()
        Message.fetch() Message.record() Message.get_progress() Message.aget_progress()
    """.split(),
    "helper": [
        "the engine without Django configured",
        "the default middleware of a bare StubBroker",
        "the install hint of a missing client library",
        "results come back through every broker",
        "revocation.id",
        "revocation.counts",
        "revocation.lifted_at",
        "revocation.unreached",
        "a message id is a UUID version 7",
        "correlation id",
        "enqueueing the id that runs is its retry",
        "DuplicateMessage on the stub and the database",
        "an id has at most 64 characters",
        "unknown fields survive",
        "DuplicateMessage on Redis",
        "log record field: message_id",
        "log record field: actor",
        "log record field: queue",
        "log record field: retries",
        "async actors on one event loop",
        "an unknown setting is a check error with a guess",
        "check django_tasks_q.E001",
        "check django_tasks_q.E002",
        "check django_tasks_q.E003",
        "check django_tasks_q.W001",
        "settings reset on setting_changed",
        "the page of the checks",
        "the first lines of runworkers",
        "-Q high=3 low=1",
        "durations 30s 10m 2h",
        "the text log line carries the message id",
        "runworkers names missing tables, unknown queues and -t 0",
        "Windows is refused",
        "taskq stats --json: queues",
        "taskq stats --json: queue_name",
        "taskq stats --json: ready",
        "taskq stats --json: in_flight",
        "taskq stats --json: delayed",
        "taskq stats --json: dead",
        "taskq stats --json: oldest_ms",
        "taskq stats --json: paused",
        "taskq stats --json: consumers",
        "taskq stats --json: per_minute",
        "taskq stats --json: workers",
        "taskq stats --json: outbox",
        "taskq stats --json: mirror_lag_ms",
        "admin: records to look at, found by id and correlation id",
        "admin: dashboard",
        "admin: messages",
        "admin: dead letters",
        "admin: delayed",
        "admin: running now",
        "admin: queues",
        "admin: actors",
        "admin: workers",
        "admin: mutexes",
        "admin: permissions per action",
        "admin: LogEntry for every action",
        "admin: pause and resume",
        "admin: purge",
        "admin: schedules",
        "admin: revocations",
        "admin: batches",
        "admin: charts",
        "TasksBackend.supports_defer",
        "TasksBackend.supports_async_task",
        "TasksBackend.supports_get_result",
        "TasksBackend.supports_priority",
        "the extra for the django-tasks backport",
        "connection.queries does not grow",
        "py.typed",
        "testing: immediate mode",
        "testing: on-commit capture",
        "pytest fixture task_broker",
        "pytest fixture task_worker",
        "ConcurrentRateLimiter on Redis",
        "a mail to the admins on final failure",
        "the table of broker differences",
        "eta needs a time zone",
        "a delay is at most a year",
        "priorities from -100 to 100",
        "MessageTooLarge",
        "two actors of one name",
        "extra postgres",
        "extra watch",
        "extra redis",
        "extra rabbitmq",
        "extra prometheus",
        "extra gevent",
        "extra schedules",
        "extra all",
        "RabbitMQ: <namespace>.<queue>",
        "RabbitMQ: <namespace>.waiting",
        "RabbitMQ: .XQ",
        "RabbitMQ: x-max-priority",
        "Redis: <namespace>:{<queue>}:…",
        "SEND_TIMEOUT ends in BrokerConnectionError",
        "GET /healthz",
        "GET /readyz",
        "what to remove when uninstalling",
    ],
    "setting": """
        BROKER_URL BROKER_OPTIONS MIDDLEWARE AUTODISCOVER ENCODER ACTOR_DEFAULTS LEASE DELIVERY_LIMIT MAX_MESSAGE_BYTES
        TIME_LIMIT_GRACE UNKNOWN_ACTOR_GRACE PROCESSES THREADS WORKER_SHUTDOWN_TIMEOUT SWITCH_INTERVAL
        BROKER_URL="database://" BROKER_URL="stub://" BROKER_URL="immediate://" BROKER_URL="redis://"
        BROKER_URL="redis+cluster://"
        BROKER_URL="redis+sentinel://" BROKER_URL="amqp://" NAMESPACE JOURNAL_MAX_BYTES SEND_TIMEOUT
        ACTOR_DEFAULTS["on_commit"] MESSAGE_OPTIONS RATE_LIMITS_URL OUTBOX DEAD_LETTER_TTL RECORDS RECORDS["ENABLED"]
        RECORDS["DATABASE"] RECORDS["ARGUMENTS"] RECORDS["REDACT"] RECORDS["SUCCEEDED_TTL"] RECORDS["DEAD_TTL"]
        RESULTS_URL ASYNC_CONCURRENCY ENCODER="django_tasks_q.encoder.TypedJSONEncoder" SCHEDULES SCHEDULES["actor"]
        SCHEDULES["schedule"] SCHEDULES["args"] SCHEDULES["kwargs"] SCHEDULES["time_zone"] SCHEDULES["catch_up"]
        SCHEDULES["options"]
    """.split(),
    "command": [
        "runworkers",
        "taskq",
        "taskq stats",
        "taskq messages",
        "taskq show",
        "taskq send",
        "taskq requeue",
        "taskq discard",
        "taskq workers",
        "taskq health",
        "taskq purge-records",
        "taskq revoke",
        "taskq lift",
        "taskq pause",
        "taskq resume",
        "taskq purge",
        "taskq revocations",
        "taskq schedules",
    ],
    "flag": [
        "runworkers -p",
        "runworkers --processes",
        "runworkers -t",
        "runworkers --threads",
        "runworkers -Q",
        "runworkers --queues",
        "runworkers --watch",
        "runworkers --watch-use-polling",
        "runworkers --use-spawn",
        "runworkers --pid-file",
        "runworkers --log-file",
        "runworkers --log-format",
        "runworkers --worker-shutdown-timeout",
        "runworkers --max-messages",
        "runworkers --max-memory",
        "runworkers --max-age",
        "runworkers --burst",
        "runworkers --no-maintenance",
        "runworkers --wait-for-broker",
        "runworkers --log-format text",
        "runworkers --log-format json",
        "runworkers --use-gevent",
        "runworkers --health-port",
        "runworkers --metrics-port",
        "taskq --json",
        "taskq --actor",
        "taskq --queue",
        "taskq --state",
        "taskq --limit",
        "taskq stats --watch",
        "taskq send --args",
        "taskq requeue --all",
        "taskq requeue --dry-run",
        "taskq discard --all",
        "taskq discard --dry-run",
        "taskq purge-records --before",
        "taskq --stamp",
        "taskq revoke --all",
        "taskq revoke --dry-run",
        "taskq purge --all",
        "taskq purge --dry-run",
        "taskq pause --queue",
        "taskq pause --actor",
        "taskq resume --queue",
        "taskq resume --actor",
    ],
    "exit code": [
        "runworkers 0",
        "runworkers 1",
        "runworkers 2",
        "runworkers 3",
        "runworkers 4",
        "taskq 0",
        "taskq 1",
        "taskq 2",
    ],
    "signal": [
        "INT",
        "TERM",
        "a second INT or TERM",
        "HUP",
        "message_dead",
    ],
    "state": """
        enqueued delayed running succeeded retrying dead skipped discarded pending revoked unknown
    """.split(),
    "reason": """
        retries_exhausted age_limit time_limit throws unknown_actor bad_arguments undecodable delivery_limit
        not_sendable rejected lost
    """.split(),
    "model field": [
        "MessageRecord.message_id",
        "MessageRecord.correlation_id",
        "MessageRecord.actor_name",
        "MessageRecord.queue_name",
        "MessageRecord.state",
        "MessageRecord.app_label",
        "MessageRecord.priority",
        "MessageRecord.args",
        "MessageRecord.kwargs",
        "MessageRecord.options",
        "MessageRecord.raw",
        "MessageRecord.retries",
        "MessageRecord.deliveries",
        "MessageRecord.lost",
        "MessageRecord.life",
        "MessageRecord.eta",
        "MessageRecord.created_at",
        "MessageRecord.enqueued_at",
        "MessageRecord.started_at",
        "MessageRecord.finished_at",
        "MessageRecord.worker",
        "MessageRecord.error_type",
        "MessageRecord.error_message",
        "MessageRecord.dead_reason",
        "MessageRecord.parent_id",
        "MessageRecord.group_id",
        "MessageRecord.progress_done",
        "MessageRecord.progress_total",
        "MessageRecord.progress_text",
        "MessageRecord.progress_guard",
        "MessageRecord.guard",
        "Attempt.message",
        "Attempt.number",
        "Attempt.started_at",
        "Attempt.finished_at",
        "Attempt.worker",
        "Attempt.outcome",
        "Attempt.error_type",
        "Attempt.error_message",
        "Attempt.traceback",
        "Stamp.message",
        "Stamp.name",
        "Stamp.value",
        "RateLimitMutex.key",
        "RateLimitMutex.kind",
        "RateLimitMutex.limit",
        "RateLimitMutex.holders",
        "RateLimitMutex.expires_at",
        "WorkerProcess.worker_id",
        "WorkerProcess.hostname",
        "WorkerProcess.pid",
        "WorkerProcess.queues",
        "WorkerProcess.threads",
        "WorkerProcess.started_at",
        "WorkerProcess.heartbeat_at",
        "WorkerProcess.current",
        "WorkerProcess.rss_bytes",
        "WorkerProcess.processed",
        "WorkerProcess.failed",
        "QueueState.queue_name",
        "QueueState.ready",
        "QueueState.in_flight",
        "QueueState.delayed",
        "QueueState.dead",
        "QueueState.oldest_at",
        "QueueState.sampled_at",
        "QueueState.paused_at",
        "QueueSample.queue_name",
        "QueueSample.sampled_at",
        "QueueSample.rates",
        "QueueSample.depth",
        "QueueSample.wait percentiles",
        "QueueSample.run percentiles",
        "Revocation.target",
        "Revocation.name",
        "Revocation.value",
        "Revocation.terminate",
        "Revocation.reason",
        "Revocation.created_by",
        "Revocation.created_at",
        "Revocation.expires_at",
        "Revocation.lifted_at",
        "Revocation.counts",
        "ScheduleEntry.name",
        "ScheduleEntry.actor_name",
        "ScheduleEntry.spec",
        "ScheduleEntry.time_zone",
        "ScheduleEntry.enabled",
        "ScheduleEntry.next_at",
        "ScheduleEntry.last_at",
        "ScheduleEntry.catch_up",
        "ScheduleEntry.declared_at",
        "ScheduleRun.entry",
        "ScheduleRun.slot",
        "ScheduleRun.message_id",
        "ScheduleRun.created_at",
        "WaitingMessage.message_id",
        "WaitingMessage.queue_name",
        "WaitingMessage.kind",
        "WaitingMessage.payload",
        "WaitingMessage.due_at",
        "WaitingMessage.life",
        "WaitingMessage.attempt",
        "WaitingMessage.expires_at",
        "WaitingMessage.created_at",
    ],
}

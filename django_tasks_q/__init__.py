"""Background tasks for Django: actors, brokers, workers and everything visible in the admin."""

from typing import TYPE_CHECKING, Any

from .actor import Actor, actor
from .broker import Broker, Consumer, MessageProxy, get_broker, set_broker
from .composition import group, pipeline
from .context import get_current_message, get_max_retries, get_message_id, get_queue_name, get_retry_count
from .control import (
    Revocation,
    lift,
    pause_actor,
    pause_queue,
    resume_actor,
    resume_queue,
    revoke,
    revoke_by_stamped_headers,
)
from .encoder import Encoder, JSONEncoder, PickleEncoder
from .errors import (
    ActorNotFound,
    BadArguments,
    BrokerConnectionError,
    BrokerError,
    BrokerNotReady,
    ConnectionClosed,
    ConnectionFailed,
    DecodeError,
    DjangoTasksQError,
    DramatiqError,
    DuplicateMessage,
    EncodeError,
    HardTimeLimit,
    Interrupt,
    LostWorker,
    MessageRevoked,
    MessageTooLarge,
    MiddlewareError,
    NotADeadLetter,
    PartialSendError,
    ProcessesFailed,
    QueueJoinTimeout,
    QueueMismatch,
    QueueNotFound,
    RateLimitExceeded,
    ResultError,
    ResultFailure,
    ResultMissing,
    ResultTimeout,
    Retry,
    Shutdown,
    SkipMessage,
    TimeLimitExceeded,
    UnsupportedVersion,
)
from .gather import Gather
from .generic import GenericActor
from .logging import get_logger
from .message import Message, get_encoder, set_encoder
from .middleware import Middleware
from .progress import Progress, set_progress
from .sending import send_many
from .stamps import stamping
from .worker import ConsumerThread, Worker, WorkerThread

if not TYPE_CHECKING:  # type checkers would believe in any name
    from .errors import renamed

    def __getattr__(name: str) -> Any:
        return renamed(name, __name__)


__version__ = "0.1.0"

__all__ = [
    "Actor",
    "ActorNotFound",
    "BadArguments",
    "Broker",
    "BrokerConnectionError",
    "BrokerError",
    "BrokerNotReady",
    "ConnectionClosed",
    "ConnectionFailed",
    "Consumer",
    "ConsumerThread",
    "DecodeError",
    "DjangoTasksQError",
    "DramatiqError",
    "DuplicateMessage",
    "EncodeError",
    "Encoder",
    "Gather",
    "GenericActor",
    "HardTimeLimit",
    "Interrupt",
    "JSONEncoder",
    "LostWorker",
    "Message",
    "MessageProxy",
    "MessageRevoked",
    "MessageTooLarge",
    "Middleware",
    "MiddlewareError",
    "NotADeadLetter",
    "PartialSendError",
    "PickleEncoder",
    "ProcessesFailed",
    "Progress",
    "QueueJoinTimeout",
    "QueueMismatch",
    "QueueNotFound",
    "RateLimitExceeded",
    "ResultError",
    "ResultFailure",
    "ResultMissing",
    "ResultTimeout",
    "Retry",
    "Revocation",
    "Shutdown",
    "SkipMessage",
    "TimeLimitExceeded",
    "UnsupportedVersion",
    "Worker",
    "WorkerThread",
    "actor",
    "get_broker",
    "get_current_message",
    "get_encoder",
    "get_logger",
    "get_max_retries",
    "get_message_id",
    "get_queue_name",
    "get_retry_count",
    "group",
    "lift",
    "pause_actor",
    "pause_queue",
    "pipeline",
    "resume_actor",
    "resume_queue",
    "revoke",
    "revoke_by_stamped_headers",
    "send_many",
    "set_broker",
    "set_encoder",
    "set_progress",
    "stamping",
]

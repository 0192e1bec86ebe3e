"""Background tasks for Django: actors, brokers, workers and everything visible in the admin."""

from .actor import Actor, actor
from .broker import Broker, Consumer, MessageProxy, get_broker, set_broker
from .composition import pipeline
from .context import get_current_message, get_max_retries, get_message_id, get_queue_name, get_retry_count
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
    MessageTooLarge,
    MiddlewareError,
    NotADeadLetter,
    ProcessesFailed,
    QueueJoinTimeout,
    QueueNotFound,
    RateLimitExceeded,
    Retry,
    Shutdown,
    SkipMessage,
    TimeLimitExceeded,
    UnsupportedVersion,
)
from .logging import get_logger
from .message import Message, get_encoder, set_encoder
from .middleware import Middleware
from .sending import send_many
from .worker import ConsumerThread, Worker, WorkerThread

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
    "HardTimeLimit",
    "Interrupt",
    "JSONEncoder",
    "LostWorker",
    "Message",
    "MessageProxy",
    "MessageTooLarge",
    "Middleware",
    "MiddlewareError",
    "NotADeadLetter",
    "PickleEncoder",
    "ProcessesFailed",
    "QueueJoinTimeout",
    "QueueNotFound",
    "RateLimitExceeded",
    "Retry",
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
    "pipeline",
    "send_many",
    "set_broker",
    "set_encoder",
]

"""RabbitMQ servers of a test's own: to be killed, suspended, starved of memory and started again."""

from tests.support.private_rabbitmq.cluster import RabbitMQCluster
from tests.support.private_rabbitmq.node import PrivateRabbitMQ

__all__ = ["PrivateRabbitMQ", "RabbitMQCluster"]

"""RabbitMQ."""

from __future__ import annotations

import logging
import os
import shutil

import pika
import pika.exceptions

from .debian import state_folder
from .programs import RABBITMQ_SERVER
from .service import Address, Service, Unavailable, address_with, detach


def start_rabbitmq(address: Address) -> None:
    """One of our own: the package's own data may be somebody's, and its configuration may name another port."""
    folder = state_folder(f"rabbitmq-{address.port}")
    shutil.chown(folder, "rabbitmq", "rabbitmq")
    env = {
        "RABBITMQ_NODENAME": f"django_tasks_q_{address.port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": address.host.replace("localhost", "127.0.0.1"),
        "RABBITMQ_NODE_PORT": str(address.port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    detach(RABBITMQ_SERVER.path(), log=folder / "server.log", env=os.environ | env)


def check_rabbitmq(address: Address) -> str:
    """Log in."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells of every refusal in ten lines
    try:
        connection = pika.BlockingConnection(pika.URLParameters(address.url))
    except pika.exceptions.AMQPError as error:
        raise Unavailable(f"it answers at {address}, but {error!r}") from error
    version = connection._impl.server_properties["version"]  # what the server says of itself has no public name
    connection.close()
    return f"version {version} at {address}"


RABBITMQ = Service(
    name="RabbitMQ",
    variable="DTQ_TEST_AMQP_URL",
    default="amqp://guest:guest@127.0.0.1:5672/",
    address=address_with(5672),
    start_package=start_rabbitmq,
    check=check_rabbitmq,
)

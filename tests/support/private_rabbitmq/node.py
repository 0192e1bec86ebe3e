"""One RabbitMQ server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack

from tests.support.ports import free_port
from tests.support.private import Private
from tests.support.private_rabbitmq.erlang import Erlang, program
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

START_SECONDS = 60

_PROTOCOL = b"AMQP\x00\x00\x09\x01"
_GREETING = b"\x01\x00\x00"
"""How the server's first frame begins: a method, on channel 0."""


class PrivateRabbitMQ(Private):
    """One server, started on entering ``with`` and gone with its queues on leaving.

    ``consumer_timeout`` is the milliseconds after which a channel with an unsettled delivery is closed; the server
    looks every ``channel_tick_interval`` milliseconds. Other ``settings`` are those of rabbitmq.conf.
    """

    def __init__(
        self,
        consumer_timeout: int = 1_800_000,
        channel_tick_interval: int = 60_000,
        settings: Mapping[str, object] | None = None,
        host: str = "127.0.0.1",
        erlang: Erlang | None = None,
    ) -> None:
        super().__init__()
        self.host = host
        self.port = free_port()
        self.name = f"dtq{self.port}@localhost"
        """Of the Erlang node, for ``rabbitmqctl --node`` and in what it says of its cluster."""
        self._dist_port = free_port()
        self._own = {"consumer_timeout": consumer_timeout, "channel_tick_interval": channel_tick_interval}
        self._settings = {"loopback_users": "none", "disk_free_limit.absolute": "50MB", **(settings or {})}
        self._shared = erlang

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start again, at the same address and with what was on disk."""
        self.launch()
        self.wait_until_it_answers()

    def stop(self) -> None:
        """In order: connections are told, queues are written to disk."""
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def suspend(self) -> None:
        """Everybody stays connected, and nobody is answered until ``resume()``."""
        self._process.suspend()

    def resume(self) -> None:
        self._process.resume()

    def answers(self) -> bool:
        """Whether a client would be greeted."""
        try:
            with socket.create_connection(self.address, timeout=2) as connection:
                connection.sendall(_PROTOCOL)
                return connection.recv(len(_GREETING)) == _GREETING
        except OSError:
            return False

    def ctl(self, *words: str) -> str:
        """What rabbitmqctl prints. Takes about two seconds a call, all of them its own start: prefer ``eval``."""
        command = [program("rabbitmqctl"), "--quiet", "--node", self.name, *words]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def eval(self, expression: str) -> str:
        """Evaluate Erlang inside the server, in some milliseconds, and return the term that comes out, as text."""
        return self._erlang.call(self._dist_port, expression)

    def set_memory_watermark(self, fraction: float) -> None:
        """Of the machine's memory: 0 raises the alarm and blocks whoever publishes, 0.4 (the default) ends it."""
        self.eval(f"vm_memory_monitor:set_vm_memory_high_watermark({float(fraction)})")
        until(lambda: ("memory" in self.eval("rabbit_alarm:get_alarms()")) == (fraction == 0))

    def close_connections(self) -> None:
        """Throw everybody out, as an operator does."""
        self.eval('[rabbit_networking:close_connection(Pid, "by the test") || Pid <- rabbit_networking:connections()]')

    def write_down_queues(self) -> None:
        """Put on disk which quorum queues there are, as the server itself does half a second after a declaration.

        A queue of a server that is killed earlier never gets a leader again, and what it confirmed is lost.
        """
        self.eval("[dets:sync(Table) || Table <- dets:all()]")

    def enter(self, held: ExitStack) -> None:
        self.prepare(held)
        self.start()

    def prepare(self, held: ExitStack) -> None:
        """Everything but starting, for those who start several; ``held`` ends it."""
        self._erlang = self._shared or held.enter_context(Erlang())
        self._folder = self._erlang.folder / self.name
        self._folder.mkdir()
        settings = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        (self._folder / "rabbitmq.conf").write_text(settings)
        own = ", ".join(f"{{{name}, {value}}}" for name, value in self._own.items())
        (self._folder / "advanced.config").write_text(f"[{{rabbit, [{own}]}}].\n")
        (self._folder / "enabled_plugins").write_text("[].\n")
        self._process = ServerProcess([program("rabbitmq-server")], self._folder / "output.log", self._env())
        held.callback(self._process.kill)

    def launch(self) -> None:
        """Start without waiting."""
        self._process.start()

    def wait_until_it_answers(self) -> None:
        until(lambda: self.answers() or not self._process.is_running, START_SECONDS, self._process.said)
        assert self._process.is_running, self._process.said()

    def add_settings(self, settings: Mapping[str, object]) -> None:
        """More of rabbitmq.conf; before it is started."""
        self._settings |= settings

    def _env(self) -> dict[str, str]:
        return self._erlang.env | {
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "no-such-file"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The script then becomes the server instead of watching over it, so that we signal the server itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

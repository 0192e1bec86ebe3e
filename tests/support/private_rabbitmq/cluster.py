"""A RabbitMQ cluster on one machine."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.support.private import Private
from tests.support.private_rabbitmq.erlang import Erlang
from tests.support.private_rabbitmq.node import START_SECONDS, PrivateRabbitMQ
from tests.support.waiting import until


class RabbitMQCluster(Private):
    """Nodes that have joined when ``with`` begins.

    When all were stopped, start all again before waiting for one: the one that stopped last knows most, and the
    others wait for it.
    """

    def __init__(self, nodes: int = 3, **options: Any) -> None:
        super().__init__()
        self._erlang = Erlang()
        self.nodes = [PrivateRabbitMQ(erlang=self._erlang, **options) for _ in range(nodes)]
        first = self.nodes[0]
        for node in self.nodes:
            node.add_settings(_to_join({first.name, node.name}))

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def running(self, node: PrivateRabbitMQ) -> set[str]:
        """The names of the nodes that one node sees running."""
        return set(node.eval("rabbit_nodes:all_running()").strip("[]").replace("'", "").split(", "))

    def wait_until_whole(self, seconds: float = START_SECONDS) -> None:
        """Until every node sees every node."""
        until(self._is_whole, seconds, lambda: str([self.running(node) for node in self.nodes if node.answers()]))

    def enter(self, held: ExitStack) -> None:
        held.enter_context(self._erlang)
        for node in self.nodes:
            node.prepare(held)
        first, *others = self.nodes
        first.start()
        for node in others:
            node.launch()
        for node in others:
            node.wait_until_it_answers()
        self.wait_until_whole()

    def _is_whole(self) -> bool:
        everybody = {node.name for node in self.nodes}
        return all(node.answers() and self.running(node) == everybody for node in self.nodes)


def _to_join(names: set[str]) -> dict[str, object]:
    """Settings with which a new node joins the first of these that runs. It must be named itself.

    The first node of a cluster is told of nobody: it would look for the others for ten seconds before it begins.
    """
    peers = {f"cluster_formation.classic_config.nodes.{number}": name for number, name in enumerate(sorted(names), 1)}
    return {"cluster_formation.peer_discovery_backend": "classic_config", **peers}

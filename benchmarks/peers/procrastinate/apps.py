from django.apps import AppConfig


class PeerConfig(AppConfig):
    """The folder's name is that of the peer, so the label must differ."""

    name = "benchmarks.peers.procrastinate"
    label = "peer"

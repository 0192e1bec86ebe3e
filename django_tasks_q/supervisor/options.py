"""What ``runworkers`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are milliseconds unless a name says otherwise; None where nothing was asked."""

    processes: int
    threads: int
    async_concurrency: int = 1_000
    queues: Mapping[str, int] = {}
    watch: str | None = None
    watch_use_polling: bool = False
    use_spawn: bool = False
    use_gevent: bool = False
    pid_file: str | None = None
    log_file: str | None = None
    log_format: str = "text"
    shutdown_timeout: int = 30_000
    max_messages: int | None = None
    max_memory_mib: int | None = None
    max_age_seconds: int | None = None
    burst: bool = False
    maintenance: bool = True
    wait_for_broker: int = 30_000
    verbosity: int = 1
    time_limit_grace: int = 10_000
    unknown_actor_grace: int = 600_000
    switch_interval: float = 0.0005
    """Seconds; see :func:`sys.setswitchinterval`."""

    @property
    def spawns(self) -> bool:
        """Whether processes are fresh interpreters. Greenlets need them: this one has imported what must be patched."""
        return self.use_spawn or self.use_gevent

"""How messages find their results."""

from __future__ import annotations

from typing import Any

from ..broker import get_broker
from ..message import Message, set_result_reader
from .backend import ResultBackend


class _Reader:
    def get_result(
        self, message: Message[Any], *, backend: ResultBackend | None, block: bool, timeout: int | None
    ) -> Any:
        return _backend(backend).get_result(message, block=block, timeout=timeout)

    async def aget_result(
        self, message: Message[Any], *, backend: ResultBackend | None, block: bool, timeout: int | None
    ) -> Any:
        return await _backend(backend).aget_result(message, block=block, timeout=timeout)


def _backend(backend: ResultBackend | None) -> ResultBackend:
    return backend or get_broker().get_results_backend()


set_result_reader(_Reader())

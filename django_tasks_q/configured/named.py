"""What settings name by dotted path: the encoder, the middleware, what hides arguments. It is people's code."""

from __future__ import annotations

import inspect
from typing import Any, cast

from django.conf import settings

from .. import conf
from ..conf import WrongSetting
from ..encoder import Encoder, SignedEncoder
from ..middleware import GroupCallbacks, Middleware, default_middleware
from ..recording import Recording
from ..results import Results

_CONNECTIONS = "django_tasks_q.middleware.database_connections.DatabaseConnections"


def make_recording() -> Recording:
    """What ``RECORDS`` wants to be recorded."""
    records = conf.records()
    redact = records["REDACT"]
    if isinstance(redact, str):
        redact = _load(
            redact,
            'RECORDS["REDACT"]',
            "E010",
            "It is called with (actor_name, args, kwargs) and returns (args, kwargs).",
        )
        if not callable(redact):
            raise WrongSetting(f'{conf.NAME}: RECORDS["REDACT"] is not callable: {redact!r:.200}', "E010")
    return Recording(records["ENABLED"], records["ARGUMENTS"], redact)


def make_encoder() -> Encoder:
    """The encoder of the settings."""
    kind = encoder_class()
    encoder: Encoder = _make(kind, "ENCODER", "E009", **_secrets(kind))
    return encoder


def encoder_class() -> type[Encoder]:
    """What ``ENCODER`` names. WrongSetting unless it is an Encoder that can be made without arguments, or signs."""
    kind = _load(conf.get("ENCODER"), "ENCODER", "E009", None)
    _check_kind(kind, Encoder, "ENCODER", "E009", **_secrets(kind))
    return cast(type[Encoder], kind)


def _secrets(kind: object) -> dict[str, Any]:
    """What an encoder that signs needs: the project's secrets, unless it brings its own."""
    if not (isinstance(kind, type) and issubclass(kind, SignedEncoder)):
        return {}
    if "keys" not in inspect.signature(kind).parameters:
        return {}
    return {"keys": [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]}


def make_middleware() -> list[Middleware]:
    """The stack of the settings: the care of database connections around all, the default one, results, groups."""
    stack = middleware_stack()
    return [item if isinstance(item, Middleware) else _make(item, "MIDDLEWARE", "E008") for item in stack]


def middleware_stack() -> list[type[Middleware] | Middleware]:
    """What ``MIDDLEWARE`` names, nothing made yet. WrongSetting for what is no middleware or needs arguments."""
    paths = conf.get("MIDDLEWARE")
    if paths is None:
        return [_load(_CONNECTIONS, "MIDDLEWARE", "E008", None), *default_middleware, Results, GroupCallbacks]
    hint = "A middleware that needs arguments gets them in a subclass of your own, which the setting names."
    stack = [_load(path, "MIDDLEWARE", "E008", hint) if isinstance(path, str) else path for path in paths]
    for item in stack:
        if not isinstance(item, Middleware):
            _check_kind(item, Middleware, "MIDDLEWARE", "E008", hint)
    return stack


def _load(path: str, key: str, number: str, hint: str | None) -> Any:
    try:
        return conf.load(path, key)
    except WrongSetting as error:
        raise WrongSetting(str(error), number, hint) from error


def _check_kind(kind: object, base: type, key: str, number: str, hint: str | None = None, **given: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise WrongSetting(f"{conf.NAME}: {key}: {kind!r:.200} is no {base.__name__}.", number, hint)
    try:
        inspect.signature(kind).bind(**given)
    except TypeError as error:
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise WrongSetting(
            f"{conf.NAME}: {key}: {name} cannot be made without arguments: {error}.", number, hint
        ) from error


def _make(kind: type[Any], key: str, number: str, **given: Any) -> Any:
    try:
        return kind(**given)
    except Exception as error:  # people's code
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise WrongSetting(f"{conf.NAME}: {key}: {name}() raised {error!r:.200}.", number) from error

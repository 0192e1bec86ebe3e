"""The broker follows the settings: tests override them, and put them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from .. import conf
from ..actor import Actor
from ..broker import Broker, replace_broker
from ..brokers.unusable import UnusableBroker
from ..message import get_encoder, set_encoder
from .named import make_encoder
from .store import give_settings, make_broker

_MAKE_ANOTHER = ("BROKER_URL", "BROKER_OPTIONS", "NAMESPACE", "MIDDLEWARE")
"""Settings that another broker must be made for; the others are put onto the one that is there."""


class _Made(NamedTuple):
    """A broker, and the settings that it was made of."""

    broker: Broker
    settings: object

    @property
    def is_usable(self) -> bool:
        return not isinstance(self.broker, UnusableBroker)

    def suits(self, settings: object) -> bool:
        """Whether these settings describe this broker, give or take a value."""
        if not self.is_usable:
            return self.settings == settings
        return isinstance(settings, Mapping) and _store(self.settings) == _store(settings)


def _store(settings: Any) -> list[Any]:
    return [settings.get(key, conf.DEFAULTS[key]) for key in _MAKE_ANOTHER]


class SettingsBroker:
    """The broker that the settings describe, and those whose place it took.

    A change of the settings that only concerns values (limits, records, defaults of actors) reaches the broker that is
    there, and its actors. Where another broker is described, all queues and actors go to a new one; when the settings
    are put back, they return to the old one, with the modules' actors that were declared meanwhile. Settings that
    cannot be used make a broker that only raises the error.
    """

    def __init__(self) -> None:
        self._now: _Made | None = None
        self._before: list[_Made] = []
        self._encoder = ""

    def make(self) -> Broker:
        """The broker of the settings, made anew."""
        self._now = self._make()
        return self._now.broker

    def follow(self, *, setting: str, enter: bool, **kwargs: Any) -> None:
        """Receiver of ``setting_changed``. What is wrong with the settings is said by whoever uses the broker."""
        if setting != conf.NAME or self._now is None:
            return
        if self._now.is_usable and self._now.suits(_settings()) and self._refresh(self._now.broker):
            return
        earlier = None if enter else self._find()
        if earlier is not None:
            self._return_to(earlier)
        else:
            self._go_on(remember=enter)

    def _find(self) -> _Made | None:
        """Who was there before the settings that are being put back; whoever came after him is forgotten."""
        for index in range(len(self._before) - 1, -1, -1):
            found = self._before[index]
            if found.suits(_settings()):
                del self._before[index:]
                return found
        return None

    def _go_on(self, *, remember: bool) -> None:
        old, new = cast(_Made, self._now), self._make()
        if remember:
            self._before.append(old)
        for queue_name in old.broker.queues:
            new.broker.declare_queue(queue_name)
        for actor in list(old.broker.actors.values()):
            _move(actor, new.broker)
        self._stand_in(old, new)

    def _return_to(self, earlier: _Made) -> None:
        """What a test declared inside a function stays behind: its name would be taken for ever."""
        old = cast(_Made, self._now)
        for actor in list(old.broker.actors.values()):
            known = earlier.broker.actors.get(actor.actor_name)
            if known is actor:
                actor.broker = earlier.broker
            elif known is None and "<locals>" not in getattr(actor.fn, "__qualname__", ""):
                _move(actor, earlier.broker)
        self._stand_in(old, earlier)
        if earlier.is_usable:
            self._refresh(earlier.broker)

    def _stand_in(self, old: _Made, new: _Made) -> None:
        self._now = new
        replace_broker(old.broker, new.broker)

    def _make(self) -> _Made:
        before = get_encoder()
        try:
            broker = make_broker()
        except ImproperlyConfigured as error:
            return _Made(cast(Broker, UnusableBroker(error)), _settings())
        if self._encoder == conf.get("ENCODER"):
            set_encoder(before)  # one that somebody has set stays until the setting changes
        self._encoder = conf.get("ENCODER")
        return _Made(broker, _settings())

    def _refresh(self, broker: Broker) -> bool:
        """Put the settings of now onto a broker and its actors; False, and nothing happened, when they are unusable."""
        try:
            encoder = None if self._encoder == conf.get("ENCODER") else make_encoder()
            give_settings(broker)
        except ImproperlyConfigured:
            return False
        if encoder is not None:
            set_encoder(encoder)
            self._encoder = conf.get("ENCODER")
        broker.forget_settings()
        for actor in broker.actors.values():
            actor.take_defaults()
        return True


def _settings() -> object:
    return getattr(django_settings, conf.NAME, {})


def _move(actor: Actor[Any, Any], broker: Broker) -> None:
    actor.broker = broker
    actor.take_defaults()
    broker.declare_actor(actor)


settings_broker = SettingsBroker()
"""The one of this process."""

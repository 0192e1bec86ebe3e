"""Actors written as classes, so that they can share code and options by inheritance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .actor import Actor, actor


class generic_actor(type):
    """Makes an actor of each class that is not abstract: the class statement gives its one instance."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        made = super().__new__(mcs, name, bases, namespace)
        is_root = not any(isinstance(base, mcs) for base in bases)
        if is_root or _is_abstract(namespace.get("Meta")):
            return made
        options = _options(made)
        decorate = options.pop("actor", actor)
        instance = cast("GenericActor", made())
        instance.__actor__ = decorate(**{"actor_name": name, **options})(instance.perform)
        return instance

    def __getattr__(cls, name: str) -> Any:
        """Says to type checkers that what a class statement gives has an actor's methods."""
        raise AttributeError(f"{cls.__name__} is abstract; it has no attribute {name!r}.")


class GenericActor(metaclass=generic_actor):
    """The base of actors that are classes: a subclass says in ``perform`` what its messages do.

    The inner class ``Meta`` has the options of :func:`actor` (``queue_name``, ``priority``, ``max_retries``, …) and
    three more: ``actor_name`` (the class's name when not given), ``abstract = True`` for a base that is no actor, and
    ``actor``, another decorator than :func:`actor`. Options are inherited one by one, ``abstract`` never is.

    The class statement gives an instance, which has everything that an actor has (``send()``, ``message()``,
    ``options``, …); calling it runs ``perform`` here and now.
    """

    __actor__: Actor[Any, Any]

    if TYPE_CHECKING:  # who calls what a class statement gives would make an instance, as type checkers see it

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """What a message of this actor does."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it performs.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__actor__(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__actor__":
            raise AttributeError(name)  # not declared yet
        return getattr(self.__actor__, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__actor__!r})"

    def __str__(self) -> str:
        return str(self.__actor__)


def _is_abstract(meta: type | None) -> bool:
    return meta is not None and bool(vars(meta).get("abstract", False))


def _options(made: type) -> dict[str, Any]:
    """What the ``Meta`` of a class and those of its bases say, the nearest first; a ``Meta`` may have bases as well."""
    options: dict[str, Any] = {}
    for base in reversed(made.__mro__):
        for meta in reversed(getattr(vars(base).get("Meta"), "__mro__", ())):
            options |= {name: value for name, value in vars(meta).items() if not name.startswith("_")}
    options.pop("abstract", None)
    return options

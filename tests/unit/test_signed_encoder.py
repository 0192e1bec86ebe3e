"""The encoder that signs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_tasks_q import DecodeError, JSONEncoder, PickleEncoder
from django_tasks_q.configured import make_encoder
from django_tasks_q.encoder import SignedEncoder

MESSAGE = {"args": [1, "two"]}


@pytest.mark.parametrize("inner", [None, PickleEncoder()])
def test_what_was_signed_can_be_read(inner: Any) -> None:
    encoder = SignedEncoder(inner, keys=["secret"])

    assert encoder.decode(encoder.encode(MESSAGE)) == MESSAGE


def test_every_byte_counts() -> None:
    encoder = SignedEncoder(keys=["secret"])
    wire = encoder.encode(MESSAGE)

    for place in range(len(wire)):
        forged = wire[:place] + bytes([wire[place] ^ 1]) + wire[place + 1 :]
        with pytest.raises(DecodeError):
            encoder.decode(forged)


@pytest.mark.parametrize("wire", [b"", b"{}", JSONEncoder().encode(MESSAGE), b"dtq-hmac-sha256:short"])
def test_what_is_not_signed_is_refused(wire: bytes) -> None:
    with pytest.raises(DecodeError, match="Not signed"):
        SignedEncoder(keys=["secret"]).decode(wire)


def test_keys_can_be_changed_while_messages_wait() -> None:
    old, new = SignedEncoder(keys=["old"]), SignedEncoder(keys=["new", "old"])
    waiting = old.encode(MESSAGE)

    assert new.decode(waiting) == MESSAGE
    with pytest.raises(DecodeError, match="signature is wrong"):
        old.decode(new.encode(MESSAGE))


def test_a_pickle_of_somebody_else_is_not_even_opened() -> None:
    bomb = PickleEncoder().encode({"args": []})

    with pytest.raises(DecodeError, match="signature is wrong"):
        SignedEncoder(PickleEncoder(), keys=["ours"]).decode(SignedEncoder(PickleEncoder(), keys=["theirs"]).encode({}))
    with pytest.raises(DecodeError, match="Not signed"):
        SignedEncoder(PickleEncoder(), keys=["ours"]).decode(bomb)


@pytest.mark.parametrize("keys", [[], "secret", [""], ["secret", b""]], ids=repr)
def test_keys_are_a_list_of_secrets(keys: Any) -> None:
    with pytest.raises(ValueError, match="list of at least one secret"):
        SignedEncoder(keys=keys)


class Signing(SignedEncoder):
    def __init__(self) -> None:
        super().__init__(PickleEncoder(), keys=["mine"])


def test_the_settings_sign_with_the_projects_secrets() -> None:
    path = "django_tasks_q.encoder.SignedEncoder"
    with override_settings(SECRET_KEY="before", DJANGO_TASKS_Q={"ENCODER": path}):
        waiting = make_encoder().encode(MESSAGE)
    with override_settings(SECRET_KEY="now", SECRET_KEY_FALLBACKS=["before"], DJANGO_TASKS_Q={"ENCODER": path}):
        assert make_encoder().decode(waiting) == MESSAGE
    with override_settings(SECRET_KEY="now", DJANGO_TASKS_Q={"ENCODER": path}), pytest.raises(DecodeError):
        make_encoder().decode(waiting)


def test_a_subclass_may_bring_its_own() -> None:
    with override_settings(DJANGO_TASKS_Q={"ENCODER": f"{__name__}.Signing"}):
        assert type(make_encoder()) is Signing

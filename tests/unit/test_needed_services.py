"""`make services` finds what answers, logs in for real, and says clearly what cannot be had."""

from __future__ import annotations

import os

import pytest

from scripts.services.mariadb import MARIADB
from scripts.services.postgresql import POSTGRESQL
from scripts.services.programs import Program
from scripts.services.rabbitmq import RABBITMQ
from scripts.services.redis import REDIS
from scripts.services.service import Service, Unavailable

SERVICES = [POSTGRESQL, REDIS, RABBITMQ, MARIADB]


@pytest.fixture(params=SERVICES, ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> Service:
    return request.param


def test_a_server_that_answers_is_logged_in_to_and_tells_its_version(service: Service) -> None:
    assert service.ensure().startswith("version ")


def test_a_server_elsewhere_is_never_started_here(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(service.variable, service.default.replace("127.0.0.1", "nowhere.invalid"))
    with pytest.raises(Unavailable, match=rf"nothing answers at nowhere\.invalid:.*{service.variable}"):
        service.ensure()


@pytest.mark.parametrize("service", [RABBITMQ, MARIADB], ids=lambda service: service.name, indirect=False)
def test_a_server_that_refuses_the_login_is_not_usable(service: Service) -> None:
    url = service.default.replace("root@", "root:wrong@").replace(":guest@", ":wrong@")
    with pytest.raises(Unavailable, match="it answers at"):
        service.check(service.address(url))


def test_a_program_that_is_nowhere_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    with pytest.raises(Unavailable, match=r"there is no no-such-program.*installs the package no-such-package"):
        Program("Nothing", ("no-such-program",), "no-such-package").ensure()
